//! The open loop: so many messages a second, however the server fares, and how long each takes to each member.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use super::{
    bed::{Bed, Context, SERVERS, Side},
    cost::spent,
    crowd::Crowd,
    message::{Clock, Tag, sending},
    pace::pace,
};

/// What one scenario found, by name.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// For how long nothing may arrive before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    /// How many gateways.
    pub gateways: usize,
    /// How many tickets.
    pub tickets: usize,
    /// How many people are in each.
    pub people: usize,
    /// How many of them write.
    pub writers: usize,
    /// How many messages a second all of them write.
    pub rate: u64,
    /// For how many seconds.
    pub seconds: u64,
}

/// Runs it once.
///
/// # Errors
/// Where it can't be run, or a message can't be sent.
pub(crate) async fn run(context: &Context, side: Side, open: Open) -> anyhow::Result<Figures> {
    let bed = Bed::start(context, side, open.gateways, 1, open.tickets).await?;
    let clock = Clock::start();
    let wires = bed.join(open.people).await?;
    let crowd = Crowd::gather(&context.life, clock, wires, open.people);
    // What the start leaves behind, and a second of the load, are not measured.
    bed.settled().await?;
    let mut numbers = vec![0; open.tickets * open.writers];
    send(clock, &bed, &crowd, open, open.rate, &mut numbers).await?;
    let warm = open.rate * open.people as u64;
    crowd.heard(warm, PATIENCE).await;
    crowd.tally.time_from(clock.now());
    let before = bed.costs()?;
    let began = clock.now();
    let count = open.rate * open.seconds;
    send(clock, &bed, &crowd, open, count, &mut numbers).await?;
    let expected = (open.rate + count) * open.people as u64;
    crowd.heard(expected, PATIENCE).await;
    let took = clock.now() - began;
    bed.settled().await?;
    let after = bed.costs()?;
    let stored = bed.stored().await?;
    let tally = crowd.leave().await;
    let delivered = tally.delivered.load(Ordering::Relaxed);
    let (inversions, different) = tally.disorder();
    let [deliveries, answers] = tally.times();
    let per = |names: &[&str]| spent(&before, &after, names) * 1_000.0 / real(count);
    Ok(Figures::from([
        ("p50", deliveries.quantile(0.5)),
        ("p99", deliveries.quantile(0.99)),
        ("p99.9", deliveries.quantile(0.999)),
        ("ack p99", answers.quantile(0.99)),
        ("cpu", per(SERVERS)),
        ("cpu front", per(&["gateway", "node"])),
        ("cpu redis", per(&["redis"])),
        ("cpu worker", per(&["worker"])),
        ("cpu mongodb", per(&["mongodb"])),
        ("cpu load", per(&["load"])),
        ("seconds", real(took) / 1e6),
        ("missing", real(expected.saturating_sub(delivered))),
        ("refused", real(tally.answered[1].load(Ordering::Relaxed))),
        (
            "not stored",
            real((open.rate + count).saturating_sub(stored)),
        ),
        ("inversions", real(inversions)),
        ("tickets in two orders", real(different)),
    ]))
}

/// Sends `count` messages; `numbers` are the last of each writer.
///
/// # Errors
/// Where one can't be sent.
pub(crate) async fn send(
    clock: Clock,
    bed: &Bed,
    crowd: &Crowd,
    open: Open,
    count: u64,
    numbers: &mut Vec<u64>,
) -> anyhow::Result<()> {
    let mut own = std::mem::take(numbers);
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let mut sender = Some(sender);
    let lines = crowd.lines.clone();
    let tickets = bed.tickets.clone();
    pace(clock, open.rate, count, move |turn, at| {
        // All first writers of all tickets, then all second ones, and so on.
        let writer = usize::try_from(turn).unwrap_or(0) % own.len();
        let (place, ticket) = (writer / tickets.len(), writer % tickets.len());
        let person = ticket * open.people + place;
        own[writer] += 1;
        let tag = Tag {
            sender: u32::try_from(person).unwrap_or(u32::MAX),
            number: own[writer],
            at,
        };
        let sent = lines[person].write(&sending(at, &tickets[ticket], tag));
        if turn + 1 == count
            && let Some(sender) = sender.take()
        {
            // Somebody waits for it, unless the run is given up.
            let _ = sender.send(std::mem::take(&mut own));
        }
        sent
    })
    .await?;
    *numbers = receiver.await?;
    Ok(())
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
pub(crate) const fn real(count: u64) -> f64 {
    count as f64
}
