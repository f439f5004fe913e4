//! The queue room: what a team's list of tickets shows, cluster-wide over the Redis adapter.
//!
//! Nothing here is promised to arrive: a list that missed something is right again after its next reload. What
//! is promised goes through the tickets' logs.

use serde::Serialize;
use ticket_shared::{
    domain::{Agent, Ticket},
    event::{TicketCreated, server},
    id::Id,
    stream::{Actor, Change, Entry},
};

use crate::ticket::follow::{Io, changed};

/// The name of the room.
pub const ROOM: &str = "queue";

/// The room of those in the queue who are in this ticket, too: they hear of it there.
pub fn inside(ticket: Id) -> String {
    format!("{ROOM}:{ticket}")
}

/// Tells the queue of a new ticket.
pub async fn created(io: &Io, ticket: Ticket) {
    tell(io, None, server::TICKET_CREATED, &TicketCreated { ticket }).await;
}

/// Tells the queue of a change, but not those sockets that are in the ticket: they hear of it there.
pub async fn updated(io: &Io, entry: &Entry) {
    let Some(ticket) = entry.ticket() else { return };
    let (by, assigned): (&Actor, Option<Option<Agent>>) = match &entry.change {
        Change::Status { by, .. } => (by, None),
        Change::Assigned { to, by } => (by, Some(to.clone())),
        _ => return,
    };
    let inside = inside(ticket.id);
    let (updated, agent) = changed(ticket, by.clone(), assigned, entry.seq, entry.prev_seq);
    tell(io, Some(inside.clone()), server::TICKET_UPDATED, &updated).await;
    if let Some(agent) = agent {
        tell(io, Some(inside), server::AGENT_ASSIGNED, &agent).await;
    }
}

async fn tell<T: Serialize>(io: &Io, but: Option<String>, event: &'static str, payload: &T) {
    // Closed: the process stops.
    let Some(io) = io.of("/") else { return };
    let to = io.to(ROOM);
    let to = if let Some(but) = but {
        to.except(but)
    } else {
        to
    };
    if to.emit(event, payload).await.is_err() {
        tracing::debug!(event, "queue not told everywhere");
    }
}
