//! `subscribe_queue` and `unsubscribe_queue`: follow every ticket's coming and going, as a team's queue shows it.

use serde::Serialize;
use ticket_shared::{domain::Counts, event::Nothing};

use super::inbound::Call;
use crate::{access::Action, error::Error, queue};

/// The answer to `subscribe_queue`.
#[derive(Debug, Serialize)]
pub(super) struct Subscribed {
    counts: Counts,
}

/// Lets the socket into the queue room.
pub(super) async fn subscribe(call: &Call) -> Result<Subscribed, Error> {
    call.caller.grant(Action::Queue)?;
    // First into the room, then the counts: a change in between is told, not lost.
    enter(call);
    match call.app.tickets.counts().await {
        Ok(counts) if call.socket.connected() => Ok(Subscribed { counts }),
        other => {
            leave(call);
            other.map(|counts| Subscribed { counts })
        }
    }
}

/// Lets it out.
pub(super) fn unsubscribe(call: &Call) -> Nothing {
    leave(call);
    Nothing {}
}

fn enter(call: &Call) {
    // A socket's events come one by one: no ticket is joined meanwhile.
    call.connection.set_in_queue(true);
    call.socket.join(insides(call));
    call.socket.join(queue::ROOM);
}

/// Lets the socket out of the queue room, whether it is in it or not.
pub(super) fn leave(call: &Call) {
    if call.connection.in_queue() {
        call.socket.leave(queue::ROOM);
        call.connection.set_in_queue(false);
        call.socket.leave(insides(call));
    }
}

/// The rooms of the tickets that it is in.
fn insides(call: &Call) -> Vec<String> {
    let joined = call.connection.joined();
    joined.keys().copied().map(queue::inside).collect()
}
