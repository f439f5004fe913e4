//! The worker against a standing backlog: how fast it stores, and whether its memory grows meanwhile.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    bed::{Bed, Context, Side},
    closed,
    cost::spent,
    idle::memory,
    open::{Figures, real},
};

/// Runs it once with at least so many entries.
///
/// # Errors
/// Where the backlog does not come about, or is not stored in time.
pub(crate) async fn run(context: &Context, entries: u64) -> anyhow::Result<Figures> {
    let mut bed = Bed::start(context, Side::Product, 2, 0, closed::TICKETS).await?;
    let written = closed::fill(context, &bed, entries).await?;
    let backlog = written + closed::TICKETS as u64;
    let shape = bed.shape.clone();
    bed.world.add_worker(0, &shape)?;
    let (began, before) = (Instant::now(), bed.costs()?);
    let mut sizes = Vec::new();
    let bed = &bed;
    let sample = async {
        loop {
            // How often decides only how finely the highest is seen.
            sleep(Duration::from_millis(100)).await;
            if let Ok(costs) = bed.costs() {
                sizes.push(memory(&costs, &["worker"]));
            }
        }
    };
    tokio::select! {
        settled = bed.settled() => { settled?; },
        () = sample => {}
    }
    let took = began.elapsed().as_secs_f64();
    let cpu = spent(&before, &bed.costs()?, &["worker"]);
    let stored = bed.stored().await?;
    let highest = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
    // The first fifth fills buffers and pools; from then on there is nothing left to grow for.
    let (early, late) = sizes.split_at(sizes.len() / 5);
    Ok(Figures::from([
        ("entries", real(backlog)),
        ("entries/s", real(backlog) / took),
        ("worker cores", cpu / took),
        ("rss growth", highest(late) / highest(early)),
        ("rss highest", highest(&sizes)),
        ("rss end", late.last().copied().unwrap_or_default()),
        ("not stored", real(written.saturating_sub(stored))),
    ]))
}
