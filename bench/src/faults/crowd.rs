//! What some clients do to all the others.

use std::{cell::Cell, collections::VecDeque, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};
use ticket_shared::event::client;
use tokio::time::{Instant, interval, timeout};

use super::{Told, under};
use crate::{
    flood::{Flood, flood},
    load::Size,
    packet::asking,
    report::Row,
    run::{Context, Run, ask},
    socket::Socket,
    wait::until,
    world::Shape,
};

/// Clients that read nothing.
const STALLED: usize = 100;
/// The tickets that they are in. Few, so that their queues are full before anything else ends them: a connection
/// that takes nothing for 20 s is dead anyway.
const BUSY: usize = 4;
/// Length of each of the two phases that are compared.
const PHASE: Duration = Duration::from_secs(15);

/// Many readers in few tickets.
fn crowd() -> Size {
    Size {
        tickets: 16,
        customers: 17,
        agents: 32,
        spread: 1,
        rate: 100,
        window: 4,
    }
}

/// Writes long messages into the busy tickets in turn, for a while: what a client does not read piles up by it.
async fn chatter(run: &Run, socket: &mut Socket, long: Duration) -> anyhow::Result<()> {
    let content = "x".repeat(6_000);
    let (began, mut pace) = (Instant::now(), interval(Duration::from_millis(8)));
    for id in 0.. {
        if began.elapsed() > long {
            break;
        }
        pace.tick().await;
        let ticket = run.tickets[usize::try_from(id)? % BUSY];
        let payload = json!({
            "ticketId": ticket, "senderId": "chatter", "senderType": "agent", "senderName": "Chatter",
            "content": content,
        });
        ask(socket, id, client::SEND_MESSAGE, &payload).await?;
    }
    Ok(())
}

/// Who is in a ticket, of those who read nothing.
async fn still_there(run: &Run) -> anyhow::Result<usize> {
    let mut socket = Socket::connect(&run.world.gateways[1].address.to_string()).await?;
    let mut there = 0;
    for (id, ticket) in run.tickets.iter().enumerate() {
        let join = json!({"ticketId": ticket, "userId": "watcher", "userType": "agent", "userName": "Watcher"});
        let joined = ask(&mut socket, id as u64, client::JOIN_TICKET, &join).await?;
        let people = joined["participants"]
            .as_array()
            .context("a join without participants")?;
        let stalled = |person: &&Value| {
            let id = person["userId"].as_str();
            id.is_some_and(|id| id.starts_with("stalled"))
        };
        there += people.iter().filter(stalled).count();
    }
    Ok(there)
}

/// The ends of those who read nothing.
#[derive(Default)]
struct Ends {
    /// How many were cut off.
    cut: usize,
    /// The longest time from when the gateways said so to when the connection was closed.
    late: Duration,
    /// The highest memory of the gateways meanwhile, in bytes.
    highest: f64,
}

/// Watches until all of them are cut off and closed.
async fn watched(run: &Run) -> anyhow::Result<Ends> {
    let mut ends = Ends::default();
    let open = run.world.open_files()?;
    let mut pending = VecDeque::new();
    let mut pace = interval(Duration::from_millis(20));
    loop {
        pace.tick().await;
        ends.highest = ends.highest.max(run.world.gateway_memory());
        let cut = run.world.cut_off().await?;
        pending.extend((ends.cut..cut).map(|_| Instant::now()));
        ends.cut = cut;
        let closed = open.saturating_sub(run.world.open_files()?);
        while ends.cut - pending.len() < closed
            && let Some(since) = pending.pop_front()
        {
            ends.late = ends.late.max(since.elapsed());
        }
        if ends.cut >= STALLED && pending.is_empty() {
            return Ok(ends);
        }
    }
}

pub(super) async fn slow(context: Context) -> anyhow::Result<Row> {
    under(&context, "F22", Shape::default(), crowd(), async |run| {
        // From the beginning: connections that end are counted later, and none may begin then.
        let mut writer = Socket::connect(&run.world.gateways[0].address.to_string()).await?;
        let from = run.mark();
        chatter(run, &mut writer, PHASE).await?;
        let between = run.mark();
        let before = run.world.gateway_memory();
        let mut stalled = Vec::new();
        for number in 0..STALLED {
            let gateway = run.world.gateways[number % 2].address;
            let mut socket = Socket::connect_narrow(gateway).await?;
            let name = format!("stalled-{number}");
            let ticket = run.tickets[number % BUSY];
            let join = json!({"ticketId": ticket, "userId": name, "userType": "user", "userName": name});
            // Nobody reads the answer, nor anything else.
            socket.write(asking(1, client::JOIN_TICKET, &join)).await?;
            stalled.push(socket);
        }
        until("they are there", Duration::from_secs(20), async || {
            still_there(run).await.is_ok_and(|there| there == STALLED)
        })
        .await?;
        let began = Instant::now();
        // What else ends silent connections takes 20 s.
        let ends = tokio::select! {
            ends = watched(run) => ends?,
            written = chatter(run, &mut writer, Duration::from_mins(1)) => {
                written?;
                // Not all were cut off, or not all that were are closed.
                Ends { cut: run.world.cut_off().await?, late: Duration::MAX, highest: before }
            }
        };
        let (Ends { cut, late, highest }, after) = (ends, began.elapsed());
        let grown = highest - before;
        run.check(cut == STALLED, format!("{cut} of {STALLED} were cut off for their queue"));
        run.check(late < Duration::from_secs(1), format!("one was closed {late:?} after its queue was full"));
        until("all of them are gone", Duration::from_mins(1), async || {
            still_there(run).await.is_ok_and(|there| there == 0)
        })
        .await?;
        let mut closed = 0;
        for mut socket in stalled {
            let end = async { while socket.next().await.is_ok() {} };
            closed += usize::from(timeout(Duration::from_secs(5), end).await.is_ok());
        }
        run.check(closed == STALLED, format!("{closed} of {STALLED} connections were closed"));
        run.acks(200).await?;
        Ok(Told::new(format!(
            "{STALLED} clients that read nothing among 304 that do, in 4 tickets where 125 messages of 6,000 characters are written a second"
        ))
        .compared(from, between)
        .figure(format!(
            "{cut} cut off for their full queues within {:.1} s, each closed at most {} ms after its queue was full, \
             {closed} connections closed, all gone from presence; the gateways grew by {:.0} KiB at most for each of them",
            after.as_secs_f32(),
            late.as_millis(),
            grown / 1_024.0 / f64::from(u32::try_from(STALLED)?)
        )))
    })
    .await
}

pub(super) async fn flooded(context: Context) -> anyhow::Result<Row> {
    let shape = Shape {
        // As they are by default; the other limits are off, so that it can come back at once.
        gateway_env: vec![("EVENT_RATE", "50".into()), ("ABUSE_LIMIT", "500".into())],
        ..Shape::default()
    };
    under(&context, "F24", shape, crowd(), async |run| {
        let from = run.mark();
        run.lasts(PHASE).await;
        let between = run.mark();
        let (address, ticket) = (run.world.gateways[0].address.to_string(), run.tickets[0].to_string());
        let told = Cell::new(Flood::default());
        // It ends by being dropped.
        let _ = timeout(PHASE, flood(&address, &ticket, &told)).await;
        let Flood { sent, accepted, limited, cut, turned_away } = told.get();
        run.check(limited > 0, "the flood was never told `rate_limited`");
        run.check(cut > 0, "the flood was never cut off");
        run.check(turned_away > 0, "the flood was never turned away");
        // 1.5 times its rate of 50 a second: what it used outlives its connections.
        let most = 75 * PHASE.as_secs();
        run.check(accepted <= most, format!("{accepted} of its messages were accepted, at most {most}"));
        run.acks(200).await?;
        Ok(Told::new("one client sends 1,000 messages a second for 15 s, and comes back when it is cut off")
            .compared(from, between)
            .figure(format!("it sent {sent}, of which {accepted} were accepted and {limited} answered `rate_limited`; it was cut off {cut} times and turned away {turned_away} times")))
    })
    .await
}
