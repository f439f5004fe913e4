//! What happens to gateways.

use std::time::Duration;

use super::{Told, outage, skipped, under, usual};
use crate::{
    process::Signal,
    proxy::Mode,
    report::Row,
    run::Context,
    wait::until,
    world::{Part, Shape},
};

/// How long a gateway may take to end on SIGTERM.
const GRACE: Duration = Duration::from_secs(20);

pub(super) async fn killed(context: Context) -> anyhow::Result<Row> {
    under(&context, "F1", Shape::default(), usual(), async |run| {
        run.world.gateways[0].kill();
        let mark = run.mark();
        run.acks(600).await?;
        run.world.gateways[0].start()?;
        let back = run.world.ready().await?;
        run.acks(600).await?;
        Ok(
            Told::new("one of two gateways killed (-9), started again after 600 more messages")
                .figure(format!("ready {} ms after its start", back.as_millis()))
                .since(mark),
        )
    })
    .await
}

pub(super) async fn stopped(context: Context) -> anyhow::Result<Row> {
    let long = outage(&context, 30, 15);
    under(&context, "F2", Shape::default(), usual(), async |run| {
        run.world.gateways[0].signal(Signal::Stop)?;
        run.lasts(long).await;
        let unready = !run.world.gateway_ready(0).await;
        run.check(unready, "the stopped gateway answered that it is ready");
        run.world.gateways[0].signal(Signal::Continue)?;
        let mark = run.mark();
        let back = run.world.ready().await?;
        run.acks(1_000).await?;
        Ok(Told::new(format!(
            "one of two gateways stopped for {} s (SIGSTOP)",
            long.as_secs()
        ))
        .figure(format!("ready {} ms after", back.as_millis()))
        .since(mark))
    })
    .await
}

pub(super) async fn clock(context: Context) -> anyhow::Result<Row> {
    if context.programs.faketime.is_none() {
        return Ok(skipped("`faketime` is not installed"));
    }
    let shape = Shape {
        clock: Some("+10m"),
        ..Shape::default()
    };
    under(&context, "F20", shape, usual(), async |run| {
        run.acks(1_500).await?;
        Ok(Told::new(
            "one of two gateways runs 10 minutes ahead (faketime)",
        ))
    })
    .await
}

pub(super) async fn terminated(context: Context) -> anyhow::Result<Row> {
    under(&context, "F28", Shape::default(), usual(), async |run| {
        let mark = run.mark();
        let took = run.world.gateways[0].stop(GRACE).await;
        let took = run.note(took).unwrap_or_default();
        run.acks(400).await?;
        run.world.gateways[0].start()?;
        run.world.ready().await?;
        run.acks(400).await?;
        Ok(
            Told::new("SIGTERM to one of two gateways, with 2 s to drain; started again")
                .figure(format!("ended with code 0 after {} ms", took.as_millis()))
                .since(mark),
        )
    })
    .await
}

pub(super) async fn rolling(context: Context) -> anyhow::Result<Row> {
    let shape = Shape {
        workers: 2,
        ..Shape::default()
    };
    under(&context, "P8", shape, usual(), async |run| {
        let mut slowest = Duration::ZERO;
        for number in 0..2 {
            let took = run.world.gateways[number].stop(GRACE).await;
            slowest = slowest.max(run.note(took).unwrap_or_default());
            run.world.gateways[number].start()?;
            run.world.ready().await?;
            run.acks(300).await?;
            let took = run.world.workers[number].stop(GRACE).await;
            slowest = slowest.max(run.note(took).unwrap_or_default());
            run.world.workers[number].start()?;
            run.acks(300).await?;
        }
        Ok(
            Told::new("both gateways and both workers restarted, one after the other (SIGTERM)")
                .figure(format!(
                    "the slowest ended after {} ms",
                    slowest.as_millis()
                )),
        )
    })
    .await
}

pub(super) async fn cut_off(context: Context) -> anyhow::Result<Row> {
    let shape = Shape {
        proxied: vec![Part::Gateways],
        ..Shape::default()
    };
    let long = outage(&context, 20, 15);
    under(&context, "F30", shape, usual(), async |run| {
        run.world.gateway_redis[0].set(Mode::Hole);
        let world = &run.world;
        let deadline = Duration::from_secs(10);
        let gone = until(
            "the gateway says that it is not ready",
            deadline,
            async || !world.gateway_ready(0).await,
        );
        let gone = gone.await;
        let noticed = run.note(gone).unwrap_or(deadline);
        run.lasts(long.saturating_sub(noticed)).await;
        run.world.gateway_redis[0].set(Mode::Pass);
        let mark = run.mark();
        let back = run.world.ready().await?;
        run.acks(800).await?;
        Ok(Told::new(format!(
            "one of two gateways hears nothing from Redis for {} s, and is not told (black hole)",
            long.as_secs()
        ))
        .figure(format!("unready after {} ms", noticed.as_millis()))
        .figure(format!("ready {} ms after its return", back.as_millis()))
        .since(mark))
    })
    .await
}

pub(super) async fn absent(context: Context) -> anyhow::Result<Row> {
    let shape = Shape {
        servers_last: true,
        ..Shape::default()
    };
    under(&context, "F34", shape, usual(), async |run| {
        run.acks(400).await?;
        Ok(Told::new(
            "gateways and worker started 5 s before Redis and MongoDB",
        ))
    })
    .await
}
