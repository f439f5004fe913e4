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
    call.socket.join(queue::ROOM);
    match call.app.tickets.counts().await {
        Ok(counts) if call.socket.connected() => Ok(Subscribed { counts }),
        other => {
            call.socket.leave(queue::ROOM);
            other.map(|counts| Subscribed { counts })
        }
    }
}

/// Lets it out.
pub(super) fn unsubscribe(call: &Call) -> Nothing {
    call.socket.leave(queue::ROOM);
    Nothing {}
}
