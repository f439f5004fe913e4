//! Clients that read nothing, in the tickets of others.
//!
//! Each is in one of the readers' tickets, and in a busy one beside them, where the same long messages are written
//! with and without these clients. What comes there fills the way to them: first the system's part of it, then the
//! gateway's, until it cuts them off.

use std::{convert::Infallible, pin::pin, time::Duration};

use anyhow::Context as _;
use ticket_shared::{id::Id, stream::Keys};
use tokio::time::{interval, timeout};

use super::{
    bed::{Bed, Context, Side},
    latency::Latency,
    message::joining,
    open::{Figures, real},
    readers::{Phases, Readers, TICKETS, pairs},
    wire::{Lost, Wire},
};
use crate::{
    wait::until,
    world::{PARTITIONS, PREFIX},
};

/// How many clients read nothing.
const STALLED: usize = 100;
/// How often a long message is written. The latest fifty come with the join; together with those of a phase they are
/// more than may wait.
const EVERY: Duration = Duration::from_millis(40);
/// How long it is.
const LENGTH: usize = 8_000;
/// How long they may take to come and to be seen off.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs it once.
///
/// # Errors
/// Where it can't be run, or a message can't be sent.
pub(crate) async fn run(context: &Context, side: Side) -> anyhow::Result<Figures> {
    let mut bed = Bed::start(context, side, 2, 1, TICKETS + 1).await?;
    let busy = bed.tickets.pop().context("no tickets")?;
    let mut readers = Readers::gather(context, &bed).await?;
    let writer = Wire::connect(bed.gateways[0]).await?;
    let measured = measured(&bed, &mut readers, &busy, pairs(context));
    let (phases, closed, grown) = tokio::select! {
        measured = measured => measured?,
        lost = write(writer, &busy) => match lost.context("the busy ticket")? {},
    };
    let mut figures = phases.figures(readers.leave().await);
    figures.extend([
        ("closed", real(closed as u64)),
        ("KiB for each", grown / 1_024.0 / real(STALLED as u64)),
    ]);
    Ok(figures)
}

/// All phases. Returns also how many of the clients were cut off, where it was fewest, and by how many bytes the
/// gateways grew.
async fn measured(
    bed: &Bed,
    readers: &mut Readers<'_>,
    busy: &str,
    pairs: usize,
) -> anyhow::Result<(Phases, usize, f64)> {
    let mut phases = Phases::default();
    let (mut closed, mut grown) = (STALLED, 0.0_f64);
    let before = bed.world.gateway_memory();
    for _ in 0..pairs {
        phases.without.push(readers.phase().await?);
        let known = bed.world.cut_off().await?;
        let stalled = join(bed, busy).await?;
        let (times, highest) = watched(bed, readers).await?;
        phases.with.push(times);
        grown = grown.max(highest - before);
        let all = known + STALLED;
        // Fewer are a result.
        let _ = until("all are cut off", PATIENCE, async || {
            bed.world.cut_off().await.is_ok_and(|cut| cut >= all)
        })
        .await;
        closed = closed.min(bed.world.cut_off().await? - known);
        drop(stalled);
        // What others are told of their end is no part of the next phase.
        until("all of them are gone", PATIENCE, async || {
            there(bed, busy).is_ok_and(|there| there == 0)
        })
        .await?;
    }
    Ok((phases, closed, grown))
}

/// Lets them in. They read nothing, not even that they are in.
async fn join(bed: &Bed, busy: &str) -> anyhow::Result<Vec<Wire>> {
    let mut stalled = Vec::new();
    for number in 0..STALLED {
        // Numbers that no reader has.
        let person = u32::try_from(1_000_000 + number)?;
        let wire = Wire::connect_narrow(bed.gateways[number % bed.gateways.len()]).await?;
        let own = &bed.tickets[number % bed.tickets.len()];
        for (id, ticket) in [own, busy].into_iter().enumerate() {
            wire.line.write(&format!(
                "42{id}[\"join_ticket\",{}]",
                joining(ticket, person)
            ))?;
        }
        stalled.push(wire);
    }
    until("those who read nothing are in", PATIENCE, async || {
        there(bed, busy).is_ok_and(|there| there == STALLED)
    })
    .await?;
    Ok(stalled)
}

/// How many sockets are in a ticket.
fn there(bed: &Bed, ticket: &str) -> anyhow::Result<usize> {
    let ticket: Id = ticket.parse()?;
    let key = Keys::new(PREFIX, PARTITIONS).here(ticket);
    let answer = bed
        .world
        .redis_cli(bed.world.redis.address, &["ZCARD", &key])?;
    Ok(answer.parse()?)
}

/// A phase, and the highest memory of the gateways meanwhile.
async fn watched(bed: &Bed, readers: &mut Readers<'_>) -> anyhow::Result<(Latency, f64)> {
    let mut highest = 0.0_f64;
    let mut phase = pin!(readers.phase());
    loop {
        highest = highest.max(bed.world.gateway_memory());
        // How often decides only how finely the highest is seen.
        if let Ok(times) = timeout(Duration::from_millis(100), &mut phase).await {
            return Ok((times?, highest));
        }
    }
}

/// Writes long messages into a ticket until it is dropped; returns only where it can't.
async fn write(mut wire: Wire, ticket: &str) -> Result<Infallible, Lost> {
    let text = "long ".repeat(LENGTH / 5);
    let mut pace = interval(EVERY);
    let mut id = 0_u64;
    loop {
        tokio::select! {
            // The answers.
            read = wire.read(|_| ()) => read?,
            _ = pace.tick() => {
                id += 1;
                wire.line.write(&format!(
                    "42{id}[\"send_message\",{{\"ticketId\":\"{ticket}\",\"senderId\":\"busy\",\
                     \"senderType\":\"agent\",\"senderName\":\"Busy\",\"content\":\"{text}\"}}]"
                ))?;
            }
        }
    }
}
