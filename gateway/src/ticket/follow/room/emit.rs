//! What the sockets of one ticket are told, and who of them.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::to_raw_value;
use ticket_shared::{
    domain::{Person, UserType},
    event::{
        AgentAssigned, MessageReceived, Resync, TicketUpdated, TypingIndicator, UserJoined,
        UserLeft, server,
    },
    id::Id,
    stream::{Actor, Change, Entry, Signal},
};
use tokio::time::Instant;

use super::{Member, Room};
use crate::admission::Line;

/// How long somebody is shown as typing without saying so again.
pub const TYPING: Duration = Duration::from_secs(6);

/// How many packets are given to sockets before others have a turn. Most are written at once, which takes some
/// microseconds each.
const IN_ROW: usize = 256;

/// The room of one side of a ticket.
pub fn side_room(ticket: Id, side: UserType) -> String {
    format!("t:{ticket}:{}", side.as_str())
}

/// The room of one person's sockets in a ticket.
fn person_room(ticket: Id, person_key: &str) -> String {
    format!("t:{ticket}:is:{person_key}")
}

/// The rooms that a socket of this person is in.
pub fn rooms_of(ticket: Id, person: &Person) -> Vec<String> {
    vec![
        side_room(ticket, person.user_type),
        person_room(ticket, &person.key()),
    ]
}

impl Room {
    /// Emits one entry, which is the next one, and remembers that.
    pub(super) async fn emit(&mut self, entry: Entry) {
        if let Some(seen) = &mut self.seen {
            seen.seq = entry.seq;
        }
        let (internal, seq, prev_seq) = (entry.internal(), entry.seq, entry.prev_seq);
        tracing::debug!(ticket.id = %self.ticket, seq, sockets = self.members.len(), "emitting");
        if let Some(message) = entry.message() {
            self.no_longer_typing(&message.sender_id.clone()).await;
            let event = MessageReceived {
                message,
                seq,
                prev_seq,
            };
            self.to(internal, None, server::MESSAGE_RECEIVED, &event)
                .await;
            return;
        }
        let ticket = entry.ticket();
        let (by, assigned) = match entry.change {
            Change::Status { by, .. } => (by, None),
            Change::Assigned { to, by } => (by, Some(to)),
            // Nobody is in a ticket before it is opened, and numbering changes nothing that anybody sees.
            Change::Created { .. } | Change::Adopted { .. } | Change::Message(_) => return,
        };
        let Some(ticket) = ticket else { return };
        let (updated, agent) = changed(ticket, by, assigned, seq, prev_seq);
        self.to(false, None, server::TICKET_UPDATED, &updated).await;
        if let Some(agent) = agent {
            self.to(false, None, server::AGENT_ASSIGNED, &agent).await;
        }
    }

    /// Something that has no place in the log.
    pub(super) async fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Typing {
                sender_id,
                sender_name,
                is_typing,
                from,
            } => {
                if is_typing {
                    self.typing.insert(
                        sender_id.clone(),
                        (sender_name.clone(), Instant::now() + TYPING),
                    );
                } else if self.typing.remove(&sender_id).is_none() {
                    return;
                }
                self.tell_typing(sender_id, sender_name, is_typing, Some(from))
                    .await;
            }
            Signal::Joined(person) => {
                let but = person_room(self.ticket, &person.key());
                let event = UserJoined {
                    ticket_id: self.ticket,
                    person,
                };
                self.to(false, Some(vec![but]), server::USER_JOINED, &event)
                    .await;
            }
            Signal::Left { person, reason } => {
                let but = person_room(self.ticket, &person.key());
                let event = UserLeft {
                    ticket_id: self.ticket,
                    person,
                    reason,
                };
                self.to(false, Some(vec![but]), server::USER_LEFT, &event)
                    .await;
            }
        }
    }

    /// Ends the typing of everybody whose time `is_over`.
    pub(super) async fn end_typing(&mut self, is_over: impl Fn(Instant) -> bool) {
        let over: Vec<String> = self
            .typing
            .iter()
            .filter(|(_, (_, until))| is_over(*until))
            .map(|(id, _)| id.clone())
            .collect();
        for sender in over {
            self.no_longer_typing(&sender).await;
        }
    }

    async fn no_longer_typing(&mut self, sender: &str) {
        if let Some((name, _)) = self.typing.remove(sender) {
            self.tell_typing(sender.to_owned(), name, false, None).await;
        }
    }

    /// Tells the others, not the tabs of the one who types.
    async fn tell_typing(
        &mut self,
        sender_id: String,
        sender_name: String,
        is_typing: bool,
        from: Option<String>,
    ) {
        let mut but: Vec<String> = [UserType::User, UserType::Agent]
            .map(|side| person_room(self.ticket, &format!("{}:{sender_id}", side.as_str())))
            .into();
        // A client may type under another id than it joined with.
        if let Some(member) = from.and_then(|socket| self.members.get(&socket)) {
            but.push(person_room(self.ticket, &member.lease.person.key()));
        }
        let expires_in_ms = if is_typing {
            u64::try_from(TYPING.as_millis()).unwrap_or(0)
        } else {
            0
        };
        let event = TypingIndicator {
            ticket_id: self.ticket,
            sender_id,
            sender_name,
            is_typing,
            expires_in_ms,
        };
        self.to(false, Some(but), server::TYPING_INDICATOR, &event)
            .await;
    }

    pub(super) async fn tell_resync(&mut self, epoch: &str) {
        let event = Resync {
            ticket_id: self.ticket,
            epoch: epoch.to_owned(),
        };
        self.to(false, None, server::RESYNC, &event).await;
    }

    /// Emits to this gateway's sockets in the ticket: agents only, or everybody, but not to the rooms `but`.
    async fn to<T: Serialize>(
        &mut self,
        agents_only: bool,
        but: Option<Vec<String>>,
        event: &'static str,
        payload: &T,
    ) {
        let mut rooms = vec![side_room(self.ticket, UserType::Agent)];
        if !agents_only {
            rooms.push(side_room(self.ticket, UserType::User));
        }
        // Written once: for the count, and for everybody.
        let Ok(payload) = to_raw_value(payload) else {
            // Maps with keys that are no text can't be written. There are none.
            return;
        };
        self.count(agents_only, but.is_some(), payload.get().len());
        // Closed: the process stops, and everybody is gone.
        let Some(io) = self.shared.io.of("/") else {
            return;
        };
        let to = io.within(rooms).local();
        let to = if let Some(but) = but {
            to.except(but)
        } else {
            to
        };
        if let Err(error) = to.emit(event, &payload).await {
            // The error holds an item for every socket that it failed for: never log it whole.
            let sockets = match &error {
                socketioxide::BroadcastError::Socket(errors) => errors.len(),
                _ => 0,
            };
            self.shared.metrics.undelivered.inc_by(sockets as u64);
            tracing::warn!(ticket.id = %self.ticket, event, sockets, "event not delivered to every socket");
            // Their copies have a hole now: they must come back and resume.
            self.lines().for_each(|(_, line)| line.end_if_full());
        }
        self.in_row += 1 + self.members.len();
        if self.in_row >= IN_ROW {
            // Clients that read are written to meanwhile, and do not look like ones that do not; and whoever else
            // waits for this thread has its turn.
            self.in_row = 0;
            tokio::task::yield_now().await;
        }
    }

    /// Counts a packet for everybody who gets it. Its bytes only where it is known who does: what is counted and not
    /// sent would be waited for.
    fn count(&self, agents_only: bool, but_some: bool, bytes: usize) {
        let bytes = if but_some { 0 } else { bytes };
        for (member, line) in self.lines() {
            if !agents_only || member.lease.person.user_type == UserType::Agent {
                line.put(bytes);
            }
        }
    }

    fn lines(&self) -> impl Iterator<Item = (&Member, &Line)> {
        let members = self.members.values();
        members.filter_map(|member| Some((&**member, member.line.as_deref()?)))
    }
}

/// The events of a status change or an assignment: the second only of an assignment.
pub fn changed(
    ticket: ticket_shared::domain::Ticket,
    by: Actor,
    assigned: Option<Option<ticket_shared::domain::Agent>>,
    seq: u64,
    prev_seq: u64,
) -> (TicketUpdated, Option<AgentAssigned>) {
    let ticket_id = ticket.id;
    let agent = assigned.map(|agent| {
        let (agent_id, agent_name) = agent
            .map(|agent| (agent.agent_id, agent.agent_name))
            .unzip();
        AgentAssigned {
            ticket_id,
            agent_id,
            agent_name,
            assigned_by: by.id.clone(),
            assigned_by_name: by.name.clone(),
            seq,
            prev_seq,
        }
    });
    let updated = TicketUpdated {
        ticket_id,
        status: ticket.status,
        changed_by: by.id,
        changed_by_name: by.name,
        seq,
        prev_seq,
        ticket,
    };
    (updated, agent)
}
