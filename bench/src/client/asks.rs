//! What a client asks of the server.

use std::time::Duration;

use serde_json::{Value, json};
use ticket_shared::{domain::UserType, event::client};
use tokio::time::Instant;

use super::{Ask, Asked, Client, view::View};
use crate::{
    history::{Ticket, What},
    load::Phase,
    packet,
    socket::{Lost, Socket},
};

/// Of so many messages of an agent, one is internal.
const INTERNAL: u32 = 8;
/// After so many messages an agent sets the status once.
const CHANGE: u32 = 20;

impl Client {
    /// Asks for everything whose time has come.
    pub(super) async fn ask_what_is_due(
        &mut self,
        socket: &mut Socket,
        phase: Phase,
    ) -> Result<(), Lost> {
        let now = Instant::now();
        if self.leave_at.is_some_and(|at| at <= now) {
            return Err(Lost::Closed);
        }
        let late = self.asked.values().filter(|asked| asked.until <= now);
        let late: Vec<&str> = late.map(|asked| asked.what.name()).collect();
        if !late.is_empty() {
            for what in late {
                self.record(What::Unanswered(what));
            }
            return Err(Lost::Closed);
        }
        let tickets = self
            .views
            .iter()
            .filter(|(_, view)| view.join_due().is_some_and(|at| at <= now));
        let wanted: Vec<Ticket> = tickets.map(|(ticket, _)| *ticket).collect();
        for ticket in wanted {
            self.join(socket, ticket).await?;
        }
        if phase == Phase::Sending && now >= self.next_send {
            self.write_something(socket).await?;
        }
        loop {
            let views = &self.views;
            let open = |ticket: Ticket| views.get(&ticket).is_some_and(View::joined);
            let Some((key, pending)) = self.outbox.next(open) else {
                return Ok(());
            };
            let person = &self.member.person;
            let payload = json!({
                "ticketId": self.ticket_id(pending.ticket),
                "senderId": person.user_id,
                "senderType": person.user_type,
                "senderName": person.user_name,
                "content": format!("{key}: a message of a usual length, as people write them"),
                "clientMessageId": key.to_string(),
                "internal": pending.internal,
            });
            if !pending.sent_before {
                let ticket = pending.ticket;
                self.record(What::Sent { ticket, key });
            }
            self.ask(socket, client::SEND_MESSAGE, &payload, Ask::Send(key))
                .await?;
        }
    }

    async fn join(&mut self, socket: &mut Socket, ticket: Ticket) -> Result<(), Lost> {
        let person = &self.member.person;
        let mut payload = json!({
            "ticketId": self.ticket_id(ticket),
            "userId": person.user_id,
            "userType": person.user_type,
            "userName": person.user_name,
        });
        if let Some(view) = self.views.get_mut(&ticket) {
            if let Some(position) = view.position() {
                payload["since"] = position.seq.into();
                payload["epoch"] = (*position.epoch).into();
            }
            view.asked();
        }
        self.ask(socket, client::JOIN_TICKET, &payload, Ask::Join(ticket))
            .await
    }

    /// Begins a message in the next ticket, or, as an agent, now and then sets the status instead.
    async fn write_something(&mut self, socket: &mut Socket) -> Result<(), Lost> {
        // Behind by more than a little: the window was full. What was not sent then is not made up for.
        self.next_send =
            (self.next_send + self.member.pace).max(Instant::now() - Duration::from_secs(1));
        if self.outbox.len() >= self.member.window || self.member.tickets.is_empty() {
            return Ok(());
        }
        let count = self.outbox.begun();
        let ticket = self.member.tickets[count as usize % self.member.tickets.len()];
        let agent = self.member.person.user_type == UserType::Agent;
        self.outbox
            .begin(ticket, agent && count.is_multiple_of(INTERNAL));
        if agent
            && count % CHANGE == CHANGE - 1
            && self.views.get(&ticket).is_some_and(View::joined)
        {
            let status = ["open", "pending", "closed"][(count / CHANGE) as usize % 3];
            let payload = json!({
                "ticketId": self.ticket_id(ticket),
                "status": status,
                "changedBy": self.member.person.user_id,
                "changedByName": self.member.person.user_name,
            });
            self.ask(
                socket,
                client::TICKET_STATUS_CHANGE,
                &payload,
                Ask::Change(ticket),
            )
            .await?;
        }
        Ok(())
    }

    async fn ask(
        &mut self,
        socket: &mut Socket,
        event: &str,
        payload: &Value,
        what: Ask,
    ) -> Result<(), Lost> {
        self.next_id += 1;
        let until = Instant::now() + self.shared.patience;
        // Remembered first: what can't be written counts as unanswered.
        self.asked.insert(self.next_id, Asked { until, what });
        socket
            .write(packet::asking(self.next_id, event, payload))
            .await
    }
}
