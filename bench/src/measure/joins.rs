//! Joining: at a fixed rate on tickets that Redis holds, and everybody again at once, from where they were.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::{
    bed::{Bed, Context, Side},
    latency::Latency,
    message::{Clock, Heard, hear, joining},
    open::{Figures, real},
    pace::pace,
    wire::{Lost, Wire},
};

/// How many joins a second.
const RATE: u64 = 1_000;
/// How many connections are begun at once when all come back.
const LANES: usize = 500;
/// Within which time a join is answered, or lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a person was.
struct Place {
    gateway: SocketAddr,
    /// The payload of a join that resumes.
    join: String,
}

/// Runs it once, with so many people, two in each ticket.
///
/// # Errors
/// Where one is not let in.
pub(crate) async fn run(context: &Context, side: Side, people: u32) -> anyhow::Result<Figures> {
    let bed = Bed::start(context, side, 2, 1, people as usize / 2).await?;
    bed.settled().await?;
    let wires = bed.connect(people as usize).await?;
    let clock = Clock::start();
    let (joined, times) = at_rate(&bed, clock, wires).await?;
    let places = joined
        .iter()
        .zip(0..)
        .map(|((_, answer), person)| place(&bed, person, answer));
    let places: Vec<Place> = places.collect::<anyhow::Result<_>>()?;
    drop(joined);
    let reads = bed.reads().await;
    let began = clock.now();
    let back: Vec<(Wire, bool)> = stream::iter(&places)
        .map(come_back)
        .buffer_unordered(LANES)
        .try_collect()
        .await?;
    let took = clock.now() - began;
    let read = bed
        .reads()
        .await
        .zip(reads)
        // The one that sees whether reads are counted.
        .map(|(after, before)| after - before - 1);
    let resumed = back.iter().filter(|(_, recovered)| *recovered).count();
    let mut figures = Figures::from([
        ("p50", times.quantile(0.5)),
        ("p99", times.quantile(0.99)),
        ("back in s", real(took) / 1e6),
        ("not resumed", f64::from(people) - real(resumed as u64)),
    ]);
    if let Some(read) = read {
        figures.insert("mongodb reads", real(read.unsigned_abs()));
    }
    Ok(figures)
}

/// Everybody joins, one after another at the rate. Returns the connections with the answers, and the times.
async fn at_rate(
    bed: &Bed,
    clock: Clock,
    wires: Vec<Wire>,
) -> anyhow::Result<(Vec<(Wire, Vec<u8>)>, Latency)> {
    let lines: Vec<_> = wires.iter().map(|wire| Arc::clone(&wire.line)).collect();
    let tickets = bed.tickets.clone();
    let count = lines.len() as u64;
    let sends = pace(clock, RATE, count, move |turn, at| {
        let person = usize::try_from(turn).unwrap_or(0);
        let payload = joining(&tickets[person / 2], u32::try_from(turn).unwrap_or(0));
        lines[person].write(&format!("42{at}[\"join_ticket\",{payload}]"))
    });
    let answers = wires.into_iter().map(|wire| answer(wire, clock));
    let (sent, answers) = futures::join!(sends, futures::future::try_join_all(answers));
    sent?;
    let mut times = Latency::new();
    let mut joined = Vec::new();
    for (wire, packet, at, now) in answers? {
        times.record(at, now);
        joined.push((wire, packet));
    }
    Ok((joined, times))
}

/// Waits for the answer to a join whose id is when it was due.
async fn answer(mut wire: Wire, clock: Clock) -> Result<(Wire, Vec<u8>, u64, u64), Lost> {
    let waited = async {
        loop {
            let mut found = None;
            wire.read(|packet| {
                if let Heard::Answered(at, good) = hear(packet) {
                    found = Some((packet.to_vec(), at, clock.now(), good));
                }
            })
            .await?;
            match found {
                Some((packet, at, now, true)) => return Ok((packet, at, now)),
                Some(_) => return Err(Lost::Protocol("a join is refused")),
                None => {}
            }
        }
    };
    let (packet, at, now) = tokio::time::timeout(PATIENCE, waited).await??;
    Ok((wire, packet, at, now))
}

fn place(bed: &Bed, person: u32, answer: &[u8]) -> anyhow::Result<Place> {
    let start = super::wire::find(answer, b"[").context("an answer without arguments")?;
    let arguments: Vec<Value> = serde_json::from_slice(&answer[start..])?;
    let joined = arguments.first().context("an answer without an argument")?;
    let (seq, epoch) = (&joined["seq"], &joined["epoch"]);
    ensure!(
        seq.is_u64() && epoch.is_string(),
        "a join without a position"
    );
    let join = joining(&bed.tickets[person as usize / 2], person);
    let join = format!(
        "{},\"since\":{seq},\"epoch\":{epoch}}}",
        join.trim_end_matches('}')
    );
    let gateway = bed.gateways[person as usize % bed.gateways.len()];
    Ok(Place { gateway, join })
}

async fn come_back(place: &Place) -> Result<(Wire, bool), Lost> {
    let mut wire = Wire::connect(place.gateway).await?;
    let answer = wire.ask(1, "join_ticket", &place.join).await?;
    let recovered = super::wire::find(&answer, b"\"recovered\":true").is_some();
    Ok((wire, recovered))
}
