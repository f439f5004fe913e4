//! What operators and managed services do to Redis.

use std::time::Duration;

use super::{Told, outage, redis::refusing, under, usual};
use crate::{
    report::Row,
    run::Context,
    wait::until,
    world::{Part, Shape},
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
