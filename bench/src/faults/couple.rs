//! Two people who talk to each other, apart from the load.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use ticket_shared::{
    event::{client, server},
    id::Id,
};
use tokio::time::{Instant, timeout_at};

use super::clients::quiet_ticket;
use crate::{
    packet::{PONG, Packet},
    run::{Run, ask},
    socket::Socket,
};

/// How long what one says may take to reach the other.
const HEARING: Duration = Duration::from_secs(15);
const NAMES: [&str; 2] = ["one", "other"];

/// Two people in a ticket of their own.
pub(super) struct Couple {
    ticket: Id,
    sockets: [Socket; 2],
    said: u64,
}

impl Couple {
    /// Lets them into a new ticket of the run.
    ///
    /// # Errors
    /// Where one is not let in.
    pub(super) async fn meet(run: &mut Run, sockets: [Socket; 2]) -> anyhow::Result<Self> {
        let ticket = quiet_ticket(run).await?;
        run.tickets.push(ticket);
        let mut couple = Self {
            ticket,
            sockets,
            said: 0,
        };
        for (name, socket) in NAMES.into_iter().zip(&mut couple.sockets) {
            let join =
                json!({"ticketId": ticket, "userId": name, "userType": "user", "userName": name});
            let answer = ask(socket, 0, client::JOIN_TICKET, &join).await?;
            ensure!(answer["ok"] == true, "not let in: {}", answer["error"]);
        }
        Ok(couple)
    }

    /// Each says something, and the other hears it.
    ///
    /// # Errors
    /// Where one is not, or a connection is lost.
    pub(super) async fn talk(&mut self) -> anyhow::Result<()> {
        for (speaker, name) in NAMES.into_iter().enumerate() {
            self.said += 1;
            let content = format!("said {}", self.said);
            let send = json!({
                "ticketId": self.ticket, "senderId": name, "senderType": "user", "senderName": name,
                "content": content, "clientMessageId": content,
            });
            let socket = &mut self.sockets[speaker];
            let answer = ask(socket, self.said, client::SEND_MESSAGE, &send).await?;
            ensure!(answer["ok"] == true, "not taken: {}", answer["error"]);
            let by = Instant::now() + HEARING;
            timeout_at(by, heard(&mut self.sockets[1 - speaker], &content))
                .await
                .context("the other does not hear it")??;
        }
        Ok(())
    }

    /// Neither says anything for so long. Returns what the first one heard meanwhile: pings, and anything else.
    ///
    /// # Errors
    /// Where a connection is lost.
    pub(super) async fn keep_quiet(&mut self, long: Duration) -> anyhow::Result<(u32, u32)> {
        let until = Instant::now() + long;
        let [one, other] = &mut self.sockets;
        let (one, other) = tokio::join!(listen(one, until), listen(other, until));
        other.context("the other")?;
        one
    }
}

/// Waits for a message with this content.
async fn heard(socket: &mut Socket, content: &str) -> anyhow::Result<()> {
    loop {
        match socket.next().await? {
            Packet::Event(name, payload)
                if name == server::MESSAGE_RECEIVED && payload["message"]["content"] == content =>
            {
                return Ok(());
            }
            Packet::Ping => socket.write(PONG.to_owned()).await?,
            _ => {}
        }
    }
}

async fn listen(socket: &mut Socket, until: Instant) -> anyhow::Result<(u32, u32)> {
    let (mut pings, mut others) = (0, 0);
    while let Ok(packet) = timeout_at(until, socket.next()).await {
        if packet? == Packet::Ping {
            pings += 1;
            socket.write(PONG.to_owned()).await?;
        } else {
            others += 1;
        }
    }
    Ok((pings, others))
}
