//! What the sockets of one ticket are told, and who of them.

use std::time::Duration;

use serde::Serialize;
use ticket_shared::{
    domain::{Person, UserType},
    event::{AgentAssigned, MessageReceived, Resync, TicketUpdated, UserJoined, UserLeft, server},
    stream::{Actor, Change, Entry, Signal},
};
use tokio::time::Instant;

use super::{Room, outbox::Whom};

/// How long somebody is shown as typing without saying so again.
pub const TYPING: Duration = Duration::from_secs(6);

/// How many packets are given to sockets before others have a turn. Most are written at once, which takes some
/// microseconds each.
const IN_ROW: usize = 256;
/// How many packets go together at most: a socket that has taken all so far must have room for them.
pub(super) const TOGETHER: usize = 64;

/// How many sockets of this gateway make a crowd. What is said to one goes out in rounds, each in one write for each
/// socket: writes are most of what a crowd costs.
const CROWD: usize = 100;
/// From the beginning of one round to that of the next, plus [`ROUND_PACKET`] for each packet that the one carried. So
/// the more is said, the more goes together: 250 messages a second in twos, 8 ms apart; 150 a second one by one,
/// none of which waits.
const ROUND: Duration = Duration::from_millis(4);
const ROUND_PACKET: Duration = Duration::from_millis(2);
/// But no longer than this, which readers do not notice.
const ROUND_MOST: Duration = Duration::from_millis(10);

/// How long after the beginning of a round the next one begins at the earliest, where the one took so long for so many
/// packets. At least half of the time is left to others, however large the crowd.
fn until_next_round(packets: usize, took: Duration) -> Duration {
    let packets = u32::try_from(packets).unwrap_or(u32::MAX);
    (ROUND + ROUND_PACKET.saturating_mul(packets))
        .min(ROUND_MOST)
        .max(took * 2)
}

/// What tells persons apart.
pub(super) fn of(person: &Person) -> (UserType, String) {
    (person.user_type, person.user_id.clone())
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
            self.no_longer_typing(message.sender_type, &message.sender_id)
                .await;
            let event = MessageReceived {
                message,
                seq,
                prev_seq,
            };
            let whom = if internal { Whom::Agents } else { Whom::All };
            self.to(whom, server::MESSAGE_RECEIVED, &event).await;
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
        self.to(Whom::All, server::TICKET_UPDATED, &updated).await;
        if let Some(agent) = agent {
            self.to(Whom::All, server::AGENT_ASSIGNED, &agent).await;
        }
    }

    /// Something that has no place in the log.
    pub(super) async fn signal(&mut self, signal: Signal) {
        match signal {
            typing @ Signal::Typing { .. } => self.typing(typing).await,
            Signal::Joined(person) => {
                let event = UserJoined {
                    ticket_id: self.ticket,
                    person,
                };
                let but = vec![of(&event.person)];
                self.to(Whom::AllBut(but), server::USER_JOINED, &event)
                    .await;
            }
            Signal::Left { person, reason } => {
                let event = UserLeft {
                    ticket_id: self.ticket,
                    person,
                    reason,
                };
                let but = vec![of(&event.person)];
                self.to(Whom::AllBut(but), server::USER_LEFT, &event).await;
            }
        }
    }

    pub(super) async fn tell_resync(&mut self, epoch: &str) {
        let event = Resync {
            ticket_id: self.ticket,
            epoch: epoch.to_owned(),
        };
        self.to(Whom::All, server::RESYNC, &event).await;
    }

    /// Emits to this gateway's sockets in the ticket, with what else there is, at the next [`Room::flush`].
    pub(super) async fn to<T: Serialize>(&mut self, whom: Whom, event: &'static str, payload: &T) {
        self.outbox.put(whom, event, payload);
        if self.outbox.len() >= TOGETHER {
            self.flush().await;
        }
    }

    /// Gives the members what they are to be told. Needed before somebody comes in or goes, and before anything that waits
    /// for Redis: what has come must not wait with it.
    pub(super) async fn flush(&mut self) {
        let packets = self.outbox.len();
        if packets == 0 {
            return;
        }
        let began = Instant::now();
        let delivery = self
            .outbox
            .deliver(self.members.values().map(|member| &**member));
        if delivery.full > 0 {
            self.shared.metrics.undelivered.inc_by(delivery.full);
            tracing::warn!(ticket.id = %self.ticket, sockets = delivery.full, "events not delivered to every socket");
        }
        if delivery.writes >= CROWD {
            self.next_round = Some(began + until_next_round(packets, began.elapsed()));
        }
        self.in_row += 1 + delivery.writes;
        if self.in_row >= IN_ROW {
            // Clients that read are written to meanwhile, and do not look like ones that do not; and whoever else
            // waits for this thread has its turn.
            self.in_row = 0;
            tokio::task::yield_now().await;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_is_said_the_more_goes_together_but_nobody_waits_long() {
        let quick = Duration::from_millis(1);
        let pause = |packets| until_next_round(packets, quick).as_millis();
        assert_eq!([1, 2, 3, 4, TOGETHER].map(pause), [6, 8, 10, 10, 10]);
    }

    #[test]
    fn a_crowd_that_takes_long_leaves_half_of_the_time_to_others() {
        let slow = Duration::from_millis(30);
        assert_eq!(until_next_round(1, slow), slow * 2);
    }
}
