//! What clients do to each other.

use std::{collections::HashSet, time::Duration};

use anyhow::Context as _;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use ticket_shared::{
    event::{client, server},
    id::Id,
};
use tokio::time::{Instant, timeout};

use super::{Told, under, usual};
use crate::{
    packet::{PONG, Packet},
    proxy::{Mode, Proxy},
    readback,
    report::Row,
    rest,
    run::{Context, Run, ask},
    socket::Socket,
    wait::until,
    world::Shape,
};

/// How often two clients do the same at once.
const ROUNDS: u32 = 200;

/// One connection to each gateway.
pub(super) async fn pair(run: &Run) -> anyhow::Result<(Socket, Socket)> {
    let connect = |gateway: usize| {
        let address = run.world.gateways[gateway].address.to_string();
        async move { Socket::connect(&address).await }
    };
    Ok((connect(0).await?, connect(1).await?))
}

/// A ticket that the load does not write in.
pub(super) async fn quiet_ticket(run: &Run) -> anyhow::Result<Id> {
    let body = json!({"subject": "Apart", "userId": "u", "userName": "U"});
    let answer = rest::post(
        &run.world.gateways[0].address.to_string(),
        "/tickets",
        &body,
    )
    .await?;
    Ok(answer["ticket"]["_id"]
        .as_str()
        .context("a ticket without an id")?
        .parse()?)
}

pub(super) async fn twins(context: Context) -> anyhow::Result<Row> {
    under(&context, "F18", Shape::default(), usual(), async |run| {
        let (mut one, mut other) = pair(run).await?;
        let mut ids = HashSet::new();
        for round in 0..ROUNDS {
            let ticket = run.tickets[round as usize % run.tickets.len()];
            let send = json!({
                "ticketId": ticket, "senderId": "twin", "senderType": "user", "senderName": "Twin",
                "content": "the same", "clientMessageId": format!("twin-{round}"),
            });
            let (first, second) = tokio::join!(
                ask(&mut one, round.into(), client::SEND_MESSAGE, &send),
                ask(&mut other, round.into(), client::SEND_MESSAGE, &send)
            );
            let (first, second) = (first?, second?);
            let equal =
                first["message"] == second["message"] && first["message"]["_id"].is_string();
            run.check(equal, format!("round {round}: {first} and {second}"));
            let fresh = [&first, &second]
                .into_iter()
                .filter(|answer| answer["duplicate"] == false);
            let fresh = fresh.count();
            run.check(
                fresh == 1,
                format!("round {round}: {fresh} answers say that they were first"),
            );
            ids.insert(first["message"]["_id"].to_string());
        }
        let stored = run.load.acked() + u64::from(ROUNDS);
        run.persists(stored, Duration::from_mins(1)).await?;
        let database = readback::open(&run.world.mongo_uri()).await?;
        let messages = database.collection::<Document>("messages");
        let twins = async || messages.count_documents(doc! {"senderId": "twin"}).await;
        // All messages are counted above, and the load goes on: its own may be there before the last of these.
        let _ = until("they are stored", Duration::from_secs(20), async || {
            twins().await.is_ok_and(|count| count >= u64::from(ROUNDS))
        })
        .await;
        let count = twins().await?;
        run.check(
            count == u64::from(ROUNDS),
            format!("{count} documents of {ROUNDS} messages"),
        );
        Ok(Told::new(format!(
            "{ROUNDS} messages sent twice at once under one id, on both gateways"
        ))
        .figure(format!("{} ids, {count} documents", ids.len())))
    })
    .await
}

pub(super) async fn rivals(context: Context) -> anyhow::Result<Row> {
    under(&context, "F19", Shape::default(), usual(), async |run| {
        let ticket = quiet_ticket(run).await?;
        let (mut one, mut other) = pair(run).await?;
        let mut seq = 1;
        for round in 0..ROUNDS / 2 {
            let change = |status: &str, by: &str| {
                json!({
                    "ticketId": ticket, "status": status, "changedBy": by, "changedByName": by,
                    "expectedSeq": seq,
                })
            };
            let (mine, yours) = (change("pending", "a"), change("closed", "b"));
            let (first, second) = tokio::join!(
                ask(&mut one, round.into(), client::TICKET_STATUS_CHANGE, &mine),
                ask(&mut other, round.into(), client::TICKET_STATUS_CHANGE, &yours)
            );
            let (first, second) = (first?, second?);
            let (won, lost) = if first["ok"] == true { (first, second) } else { (second, first) };
            let current = &won["ticket"];
            let told = lost["error"]["code"] == "conflict" && lost["error"]["ticket"] == *current;
            run.check(won["ok"] == true && told, format!("round {round}: {won} and {lost}"));
            seq = current["seq"].as_u64().unwrap_or(0);
        }
        run.check(seq == u64::from(ROUNDS / 2) + 1, format!("the ticket is at {seq}"));
        // It is not one of the load's, and would be missed in its counts.
        run.tickets.push(ticket);
        Ok(Told::new(format!(
            "{} times two agents set a ticket's status at once with the same `expectedSeq`, on both gateways",
            ROUNDS / 2
        ))
        .figure("one wins, the other gets `conflict` with the ticket as it is"))
    })
    .await
}

pub(super) async fn half_open(context: Context) -> anyhow::Result<Row> {
    let life = context.life.clone();
    under(&context, "F31", Shape::default(), usual(), async |run| {
        let ticket = quiet_ticket(run).await?;
        run.tickets.push(ticket);
        let (_, mut watcher) = pair(run).await?;
        let way = Proxy::open(&life, run.world.gateways[0].address).await?;
        let mut lost = Socket::connect(&way.address.to_string()).await?;
        let join = |name: &str| json!({"ticketId": ticket, "userId": name, "userType": "user", "userName": name});
        ask(&mut watcher, 1, client::JOIN_TICKET, &join("watcher")).await?;
        ask(&mut lost, 1, client::JOIN_TICKET, &join("lost")).await?;
        way.set(Mode::Hole);
        let began = Instant::now();
        let deadline = Duration::from_secs(75);
        let mut left: Vec<Duration> = Vec::new();
        while began.elapsed() < deadline {
            // Once it is told, a second time would follow within seconds.
            let patience = if left.is_empty() { deadline } else { Duration::from_secs(8) };
            let Ok(event) = timeout(patience, until_left(&mut watcher)).await else { break };
            let event = event?;
            if event["userId"] == "lost" {
                left.push(began.elapsed());
            }
        }
        run.check(left.len() == 1, format!("told {} times that the client left", left.len()));
        let after = left.first().copied().unwrap_or(deadline);
        run.check(after < Duration::from_mins(1), format!("told only after {} s", after.as_secs()));
        Ok(Told::new("a client's connection goes silent without an end (black hole)")
            .figure(format!("the others are told that it left after {:.1} s", after.as_secs_f32())))
    })
    .await
}

/// The next `user_left`.
async fn until_left(socket: &mut Socket) -> anyhow::Result<Value> {
    loop {
        match socket.next().await? {
            Packet::Event(name, payload) if name == server::USER_LEFT => return Ok(payload),
            Packet::Ping => socket.write(PONG.to_owned()).await?,
            _ => {}
        }
    }
}
