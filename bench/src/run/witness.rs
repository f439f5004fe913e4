//! Somebody who comes and asks.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use ticket_shared::{domain::UserType, event::client::JOIN_TICKET, id::Id};
use tokio::time::timeout;

use crate::{
    history::Position,
    packet::{PONG, Packet, asking},
    socket::Socket,
};

/// Joins a ticket and says where it is.
pub(super) async fn witness(
    socket: &mut Socket,
    id: u64,
    ticket: Id,
    side: UserType,
) -> anyhow::Result<Position> {
    let payload =
        json!({"ticketId": ticket, "userId": "witness", "userType": side, "userName": "Witness"});
    let answer = ask(socket, id, JOIN_TICKET, &payload).await?;
    Ok(Position {
        seq: answer["seq"]
            .as_u64()
            .with_context(|| format!("not let in: {}", answer["error"]))?,
        epoch: answer["epoch"].as_str().unwrap_or_default().into(),
    })
}

/// Asks one thing and waits for the answer.
pub(crate) async fn ask(
    socket: &mut Socket,
    id: u64,
    event: &str,
    payload: &Value,
) -> anyhow::Result<Value> {
    socket.write(asking(id, event, payload)).await?;
    let answered = async {
        loop {
            match socket.next().await? {
                Packet::Ack(of, answer) if of == id => return Ok(answer),
                Packet::Ping => socket.write(PONG.to_owned()).await?,
                _ => {}
            }
        }
    };
    timeout(Duration::from_secs(20), answered).await?
}
