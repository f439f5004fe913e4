//! A client that would shed its rate: it leaves the namespace and enters it again, and reconnects.

use std::{cell::Cell, time::Duration};

use serde_json::json;
use ticket_shared::event::client::SEND_MESSAGE;
use tokio::time::{sleep, timeout};

use super::{Told, clients::pair, couple::Couple, under, usual};
use crate::{
    flood::{FROM, Flood},
    packet::{CONNECT, PONG, Packet, asking},
    report::Row,
    run::Context,
    socket::{Lost, Socket},
    world::Shape,
};

/// For how long it tries.
const PHASE: Duration = Duration::from_secs(15);
/// Events per second of one connection.
const RATE: u64 = 50;
/// More than a connection may send at once.
const BURST: u64 = 205;
/// How often it enters the namespace over one connection.
const ENTERS: u32 = 3;
/// The end of a stay in the namespace.
const LEAVE: &str = "41";

/// Sends a burst and counts the answers, until all are there or none comes for a while.
async fn burst(socket: &mut Socket, ticket: &str, told: &Cell<Flood>) -> Result<(), Lost> {
    let payload = json!({
        "ticketId": ticket, "senderId": "shed", "senderType": "user", "senderName": "Shed", "content": "more",
    });
    for id in 0..BURST {
        socket.write(asking(id, SEND_MESSAGE, &payload)).await?;
    }
    let mut flood = told.get();
    flood.sent += BURST;
    let mut answers = 0;
    while answers < BURST
        && let Ok(packet) = timeout(Duration::from_secs(2), socket.next()).await
    {
        match packet? {
            Packet::Ack(_, answer) => {
                answers += 1;
                flood.accepted += u64::from(answer["ok"] == true);
                flood.limited += u64::from(answer["error"]["code"] == "rate_limited");
            }
            Packet::Ping => socket.write(PONG.to_owned()).await?,
            _ => {}
        }
        told.set(flood);
    }
    Ok(())
}

/// Enters the namespace again and again over one connection.
async fn stay(socket: &mut Socket, ticket: &str, told: &Cell<Flood>) -> Result<(), Lost> {
    for _ in 0..ENTERS {
        burst(socket, ticket, told).await?;
        socket.write(LEAVE.to_owned()).await?;
        socket.write(CONNECT.to_owned()).await?;
        let entered = async {
            loop {
                match socket.next().await? {
                    Packet::Connected => return Ok::<(), Lost>(()),
                    Packet::Ping => socket.write(PONG.to_owned()).await?,
                    _ => {}
                }
            }
        };
        timeout(Duration::from_secs(10), entered).await??;
    }
    Ok(())
}

async fn shed(address: &str, ticket: &str, told: &Cell<Flood>) -> ! {
    loop {
        let lost = match Socket::connect_from(FROM, None, address).await {
            Ok(mut socket) => stay(&mut socket, ticket, told).await.err(),
            Err(lost) => Some(lost),
        };
        let mut flood = told.get();
        match lost {
            Some(Lost::TurnedAway(_)) => flood.turned_away += 1,
            Some(_) => flood.cut += 1,
            None => {}
        }
        told.set(flood);
        sleep(Duration::from_millis(10)).await;
    }
}

pub(super) async fn sheds(context: Context) -> anyhow::Result<Row> {
    let shape = Shape {
        gateway_env: vec![
            ("EVENT_RATE", RATE.to_string()),
            ("ABUSE_LIMIT", "500".into()),
        ],
        ..Shape::default()
    };
    under(&context, "F24s", shape, usual(), async |run| {
        let (one, other) = pair(run).await?;
        let mut couple = Couple::meet(run, [one, other]).await?;
        let (address, ticket) = (run.world.gateways[0].address.to_string(), run.tickets[0].to_string());
        let told = Cell::new(Flood::default());
        // It ends by being dropped.
        let _ = timeout(PHASE, shed(&address, &ticket, &told)).await;
        couple.talk().await?;
        let Flood { sent, accepted, limited, cut, turned_away } = told.get();
        let most = RATE * 3 / 2 * PHASE.as_secs();
        run.check(accepted <= most, format!("{accepted} of its messages were accepted, at most {most}"));
        run.check(limited > 0, "it was never told `rate_limited`");
        run.acks(200).await?;
        Ok(Told::new(format!(
            "one client sends {BURST} messages, leaves the namespace, enters it again, {ENTERS} times over each connection, \
             and reconnects, for {} s",
            PHASE.as_secs()
        ))
        .figure(format!(
            "of {sent} messages {accepted} were accepted (1.5 times its rate are {most}), {limited} answered \
             `rate_limited`; cut off {cut} times, turned away {turned_away} times"
        )))
    })
    .await
}
