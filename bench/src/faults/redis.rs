//! What happens to Redis.

use std::time::Duration;

use super::{Told, outage, under, usual};
use crate::{
    judge::Fault,
    process::Signal,
    proxy::Mode,
    report::Row,
    run::{Context, Run},
    wait::until,
    world::{Part, Shape, World},
};

pub(super) async fn restarted(context: Context) -> anyhow::Result<Row> {
    under(&context, "F5", Shape::default(), usual(), async |run| {
        run.world.redis.kill();
        run.lasts(Duration::from_secs(4)).await;
        run.world.restart_redis().await?;
        let mark = run.mark();
        let back = run.world.ready().await?;
        run.acks(800).await?;
        Ok(
            Told::new("Redis killed (-9), 4 s down, started again with its append-only file")
                .figure(format!("gateways ready {} ms after", back.as_millis()))
                .since(mark),
        )
    })
    .await
}

pub(super) async fn emptied(context: Context) -> anyhow::Result<Row> {
    under(&context, "F6", Shape::default(), usual(), async |run| {
        run.world.redis.kill();
        let files = run.world.directory.join("redis");
        std::fs::remove_dir_all(&files)?;
        std::fs::create_dir_all(&files)?;
        run.world.restart_redis().await?;
        let mark = run.mark();
        run.world.ready().await?;
        run.acks(800).await?;
        let mut told =
            Told::new("Redis killed (-9) and started again without its data").since(mark);
        told.by_design = vec![Fault::Lost];
        Ok(told)
    })
    .await
}

pub(super) async fn failed_over(context: Context) -> anyhow::Result<Row> {
    fail_over(&context, "F7", "stream").await
}

pub(super) async fn failed_over_confirmed(context: Context) -> anyhow::Result<Row> {
    fail_over(&context, "F7r", "replica").await
}

async fn fail_over(context: &Context, name: &str, durability: &str) -> anyhow::Result<Row> {
    let shape = Shape {
        gateway_env: vec![("DURABILITY", durability.to_owned())],
        proxied: vec![Part::Gateways, Part::Workers],
        replica: true,
        ..Shape::default()
    };
    under(context, name, shape, usual(), async |run| {
        run.acks(200).await?;
        let before = run.load.acked();
        if let Some((_, way)) = &run.world.replica {
            way.set(Mode::Hole);
        }
        // What the worker has read by now it stores after the failover, when its numbers are given again.
        if let Some(way) = &run.world.worker_mongo {
            way.set(Mode::Hole);
        }
        run.lasts(Duration::from_secs(3)).await;
        let taken = run.load.acked() - before;
        run.world.redis.kill();
        run.world.promote_replica()?;
        let mark = run.mark();
        run.world.ready().await?;
        if let Some(way) = &run.world.worker_mongo {
            way.set(Mode::Pass);
        }
        // A replica of its own for the new master, where acknowledgements wait for one.
        if durability == "replica" {
            run.world.restart_former_master()?;
        }
        run.acks(800).await?;
        let mut told = Told::new(
            "a replica that lacks the last 3 s takes over from a master that is killed (-9); what the worker has in hand \
             reaches MongoDB only afterwards",
        )
        .figure(format!("{taken} messages acknowledged in those 3 s"))
        .since(mark);
        if durability == "stream" {
            told.by_design = vec![Fault::Lost];
        }
        Ok(told)
    })
    .await
}

/// Lets Redis refuse writes for a while, and sees that nothing is acknowledged meanwhile. Returns how long it
/// took until messages are taken again.
pub(super) async fn refusing(
    run: &mut Run,
    long: Duration,
    begin: impl AsyncFnOnce(&World) -> anyhow::Result<()>,
    end: impl AsyncFnOnce(&World) -> anyhow::Result<()>,
) -> anyhow::Result<u32> {
    begin(&run.world).await?;
    // What was on its way is answered first.
    run.lasts(Duration::from_secs(1)).await;
    let before = run.load.acked();
    run.lasts(long).await;
    let falsely = run.load.acked() - before;
    run.check(
        falsely == 0,
        format!("{falsely} messages acknowledged while Redis refused writes"),
    );
    end(&run.world).await?;
    let mark = run.mark();
    run.acks(1).await?;
    let took = run.mark() - mark;
    run.acks(400).await?;
    Ok(took)
}

pub(super) fn set(world: &World, setting: &str, value: &str) -> anyhow::Result<()> {
    world
        .redis_cli(world.redis.address, &["config", "set", setting, value])
        .map(drop)
}

pub(super) async fn lonely(context: Context) -> anyhow::Result<Row> {
    let long = outage(&context, 8, 5);
    under(&context, "F8", Shape::default(), usual(), async |run| {
        let took = refusing(
            run,
            long,
            async |world| set(world, "min-replicas-to-write", "1"),
            async |world| set(world, "min-replicas-to-write", "0"),
        )
        .await?;
        Ok(Told::new(format!(
            "`min-replicas-to-write 1` without a replica for {} s",
            long.as_secs()
        ))
        .figure(format!("messages taken again after {took} ms")))
    })
    .await
}

pub(super) async fn out_of_memory(context: Context) -> anyhow::Result<Row> {
    let long = outage(&context, 8, 5);
    under(&context, "F9", Shape::default(), usual(), async |run| {
        let owed = run.load.acked();
        let took = refusing(
            run,
            long,
            async |world| set(world, "maxmemory", "1mb"),
            async |world| {
                // Workers go on: what was taken is stored, whatever Redis refuses.
                let database = crate::readback::open(&world.mongo_uri()).await?;
                let drained =
                    async || crate::readback::entries(&database).await.unwrap_or(0) >= owed;
                until(
                    "the worker drains while Redis is full",
                    Duration::from_secs(20),
                    drained,
                )
                .await?;
                set(world, "maxmemory", "0")
            },
        )
        .await?;
        Ok(Told::new(format!(
            "`maxmemory` below what Redis holds for {} s",
            long.as_secs()
        ))
        .figure(format!("messages taken again after {took} ms")))
    })
    .await
}

pub(super) async fn stopped(context: Context) -> anyhow::Result<Row> {
    under(&context, "F11", Shape::default(), usual(), async |run| {
        run.world.redis.signal(Signal::Stop)?;
        run.lasts(Duration::from_secs(5)).await;
        run.world.redis.signal(Signal::Continue)?;
        let mark = run.mark();
        let back = run.world.ready().await?;
        run.acks(800).await?;
        Ok(Told::new("Redis stopped for 5 s (SIGSTOP)")
            .figure(format!("gateways ready {} ms after", back.as_millis()))
            .since(mark))
    })
    .await
}
