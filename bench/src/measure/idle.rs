//! Connections that are in a ticket and do nothing: how much memory each takes, and whether all stay.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    bed::{Bed, Context, Side},
    cost::Costs,
    hold::Holders,
    open::{Figures, real},
};

/// Runs it once: `people` connections, two in each ticket.
///
/// # Errors
/// Where one is not let in.
pub(crate) async fn run(context: &Context, side: Side, people: u32) -> anyhow::Result<Figures> {
    let bed = Bed::start(context, side, 2, 1, people as usize / 2).await?;
    bed.settled().await?;
    let before = bed.costs()?;
    let holders = Holders::join(&bed, &context.directory).await?;
    // Longer than a round of pings, so that all have been asked whether they live.
    sleep(Duration::from_secs(context.pick(40, 5))).await;
    let after = bed.costs()?;
    sleep(Duration::from_secs(context.pick(20, 5))).await;
    let later = bed.costs()?;
    let cpu = |one: &Costs| super::cost::spent(&after, one, &["gateway", "node"]);
    let idle = cpu(&later) / f64::from(context.pick(20, 5));
    let held = u64::try_from(holders.held())?;
    let grown = memory(&after, &["gateway", "node"]) - memory(&before, &["gateway", "node"]);
    let redis = memory(&after, &["redis"]) - memory(&before, &["redis"]);
    Ok(Figures::from([
        ("bytes", grown / f64::from(people)),
        ("redis bytes", redis / f64::from(people)),
        ("held", real(held)),
        ("cores", idle),
    ]))
}

/// Resident bytes of processes whose name begins with one of `names`.
pub(crate) fn memory(costs: &Costs, names: &[&str]) -> f64 {
    let wanted = costs
        .iter()
        .filter(|(name, _)| names.iter().any(|start| name.starts_with(start)));
    wanted.map(|(_, usage)| usage.rss).sum()
}
