//! What happens to workers.

use std::time::Duration;

use super::{Told, under, usual};
use crate::{
    process::Signal,
    proxy::Mode,
    report::Row,
    run::Context,
    world::{Part, Shape},
};

/// Two workers of which one takes over from the other after 2 s.
fn pair() -> Shape {
    Shape {
        workers: 2,
        proxied: vec![Part::Workers],
        worker_env: vec![("CLAIM_IDLE_MS", "2000".into())],
        ..Shape::default()
    }
}

/// Makes every answer of MongoDB late, so that whatever happens now happens in the middle of a batch.
fn late(run: &crate::run::Run, by: Duration) {
    if let Some(proxy) = &run.world.worker_mongo {
        proxy.set(if by.is_zero() {
            Mode::Pass
        } else {
            Mode::Delay(by)
        });
    }
}

/// How many entries a worker finished after it was asked to stop, as its log says.
fn after_stop(log: &str) -> u64 {
    log.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|line| line["message"] == "batch in hand settled after the stop was asked for")
        .filter_map(|line| line["batch.entries"].as_u64())
        .sum()
}

pub(super) async fn killed(context: Context) -> anyhow::Result<Row> {
    under(&context, "F3", pair(), usual(), async |run| {
        late(run, Duration::from_millis(400));
        run.acks(300).await?;
        run.world.workers[0].kill();
        let (acked, began) = (run.load.acked(), run.mark());
        late(run, Duration::ZERO);
        run.acks(300).await?;
        let persisted = run.persists(acked, Duration::from_secs(30)).await;
        run.note(persisted);
        let took = run.mark() - began;
        run.world.workers[0].start()?;
        run.acks(300).await?;
        Ok(Told::new(
            "one of two workers killed (-9) while it waits for MongoDB; started again later",
        )
        .figure(format!(
            "everything from before the kill stored after {took} ms"
        )))
    })
    .await
}

pub(super) async fn hangs(context: Context) -> anyhow::Result<Row> {
    under(&context, "F4", pair(), usual(), async |run| {
        late(run, Duration::from_millis(400));
        run.acks(300).await?;
        run.world.workers[0].signal(Signal::Stop)?;
        late(run, Duration::ZERO);
        run.lasts(Duration::from_secs(8)).await;
        run.world.workers[0].signal(Signal::Continue)?;
        run.acks(600).await?;
        Ok(Told::new("one of two workers stopped in mid-batch for 8 s (SIGSTOP); the other takes over after 2 s"))
    })
    .await
}

pub(super) async fn terminated(context: Context) -> anyhow::Result<Row> {
    under(&context, "F29", pair(), usual(), async |run| {
        late(run, Duration::from_millis(400));
        run.acks(300).await?;
        let took = run.world.workers[0].stop(Duration::from_secs(10)).await;
        let took = run.note(took).unwrap_or_default();
        late(run, Duration::ZERO);
        run.acks(300).await?;
        let log = std::fs::read_to_string(run.world.workers[0].log())?;
        Ok(
            Told::new("SIGTERM to one of two workers while MongoDB answers 400 ms late")
                .figure(format!("ended with code 0 after {} ms", took.as_millis()))
                .figure(format!(
                    "{} entries in hand stored after the signal",
                    after_stop(&log)
                )),
        )
    })
    .await
}
