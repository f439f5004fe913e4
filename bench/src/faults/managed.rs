//! What operators and managed services do to Redis.

use std::time::Duration;

use super::{Told, outage, redis::refusing, under, usual};
use crate::{
    report::Row,
    run::{Context, Run},
    wait::until,
    world::{Managed, Part, Shape},
};

/// Time within which everything is on the new primary.
const BACK: u32 = 5_000;

/// Redis hands over to its replica in good order, and the former primary keeps every connection that it has.
pub(super) async fn handed_over(context: Context) -> anyhow::Result<Row> {
    let shape = Shape {
        proxied: vec![Part::Gateways, Part::Workers],
        replica: true,
        ..Shape::default()
    };
    under(&context, "F38", shape, usual(), async |run| {
        run.acks(200).await?;
        run.world.hand_over().await?;
        let mark = run.mark();
        run.acks(1).await?;
        let took = run.mark() - mark;
        run.check(took <= BACK, format!("messages taken again after {took} ms"));
        let entries = run.load.acked();
        let drained = run.persists(entries, Duration::from_secs(20)).await?;
        run.world.ready().await?;
        run.acks(800).await?;
        Ok(Told::new(
            "Redis hands over to its replica (`FAILOVER`); new connections lead there, kept ones stay on the former primary",
        )
        .figure(format!("messages taken again after {took} ms"))
        .figure(format!("everything persisted {} ms after", drained.as_millis()))
        .since(mark))
    })
    .await
}

/// A managed service demotes the primary, and its name leads to the new one only later, as its time to live has it.
pub(super) async fn named(context: Context) -> anyhow::Result<Row> {
    const LATE: Duration = Duration::from_secs(3);
    let shape = Shape {
        proxied: vec![Part::Gateways, Part::Workers],
        replica: true,
        ..Shape::default()
    };
    under(&context, "F39n", shape, usual(), async |run| {
        run.acks(200).await?;
        run.world.hand_over_unnamed().await?;
        run.lasts(LATE).await;
        run.world.name_primary();
        on_the_new_one(
            run,
            "a managed service hands over; its name leads to the former primary for 3 s more, where kept connections stay",
        )
        .await
    })
    .await
}

/// Sentinel finds the primary dead, and promotes a replica.
pub(super) async fn sentinel(context: Context) -> anyhow::Result<Row> {
    let shape = Shape {
        managed: Managed::Sentinel,
        ..Shape::default()
    };
    under(&context, "F39", shape, usual(), async |run| {
        run.acks(200).await?;
        run.world.redis.kill();
        let took = run.world.named_by_sentinel().await?;
        let done = "Redis killed (-9); Sentinel promotes one of its two replicas";
        let told = on_the_new_one(run, done).await?;
        Ok(told.figure(format!("Sentinel names it after {} ms", took.as_millis())))
    })
    .await
}

/// An operator stops writes and asks Sentinel for a failover; the former primary stays a primary until Sentinel demotes it.
pub(super) async fn sentinel_asked(context: Context) -> anyhow::Result<Row> {
    let shape = Shape {
        managed: Managed::Sentinel,
        ..Shape::default()
    };
    under(&context, "F39p", shape, usual(), async |run| {
        run.acks(200).await?;
        run.world.ask_for_failover()?;
        run.world.named_by_sentinel().await?;
        on_the_new_one(
            run,
            "`CLIENT PAUSE 30000 WRITE`, then `SENTINEL FAILOVER`; the former primary keeps its connections",
        )
        .await
    })
    .await
}

/// The primary of one shard in cluster mode hands over, under a plain URL.
pub(super) async fn shard(context: Context) -> anyhow::Result<Row> {
    one_shard(&context, "F39c", "redis").await
}

/// The same, under a cluster's URL.
pub(super) async fn shard_of_cluster(context: Context) -> anyhow::Result<Row> {
    one_shard(&context, "F39k", "redis-cluster").await
}

async fn one_shard(context: &Context, name: &str, scheme: &'static str) -> anyhow::Result<Row> {
    let shape = Shape {
        managed: Managed::Shard(scheme),
        ..Shape::default()
    };
    under(context, name, shape, usual(), async |run| {
        run.acks(200).await?;
        run.world.fail_over_shard()?;
        run.world.taken_over().await?;
        let done = format!(
            "`CLUSTER FAILOVER` in one shard behind `{scheme}://`; the former primary stays as a replica"
        );
        on_the_new_one(run, done).await
    })
    .await
}

/// Sees that commands, subscriptions and the worker's reads are on the new primary in time.
async fn on_the_new_one(run: &mut Run, done: impl Into<String>) -> anyhow::Result<Told> {
    let mark = run.mark();
    run.acks(1).await?;
    let took = run.mark() - mark;
    run.check(
        took <= BACK,
        format!("messages taken again after {took} ms"),
    );
    let entries = run.load.acked();
    let drained = run.persists(entries, Duration::from_secs(20)).await?;
    let read = run.mark() - mark;
    run.check(
        read <= BACK,
        format!("the worker reads again after {read} ms"),
    );
    run.world.ready().await?;
    run.acks(800).await?;
    Ok(Told::new(done)
        .figure(format!("messages taken again after {took} ms"))
        .figure(format!(
            "everything persisted {} ms after",
            drained.as_millis()
        ))
        .since(mark)
        .within(BACK))
}

/// The user loses a right that every append needs, and gets it back.
pub(super) async fn without_a_right(context: Context) -> anyhow::Result<Row> {
    let long = outage(&context, 8, 5);
    under(&context, "F40", Shape::default(), usual(), async |run| {
        let took = refusing(
            run,
            long,
            async |world| {
                let address = world.redis.address;
                world.redis_cli(address, &["acl", "setuser", "default", "-info"])?;
                let told = async || {
                    let ops = world.ops[0].to_string();
                    let body = crate::rest::get(&ops, "/readyz").await;
                    body.is_ok_and(|body| body["reasons"].to_string().contains("appends fail"))
                };
                until("a gateway says why", Duration::from_secs(20), told).await?;
                Ok(())
            },
            async |world| {
                let address = world.redis.address;
                world.redis_cli(address, &["acl", "setuser", "default", "+info"])?;
                Ok(())
            },
        )
        .await?;
        Ok(Told::new(format!(
            "the Redis user may not run `INFO` for {} s; `/readyz` says so",
            long.as_secs()
        ))
        .figure(format!("messages taken again after {took} ms")))
    })
    .await
}
