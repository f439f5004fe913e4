//! Seats that a connection has left, until their tickets' tasks know.
//!
//! A task that is busy comes to it late. A client that asks again meanwhile is answered at once, and must receive nothing
//! after that answer.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use ticket_shared::id::Id;

use crate::ticket::follow::Seat;

/// The seats of one connection. One that nobody holds any more is forgotten with the next.
#[derive(Debug, Default)]
pub(super) struct LeftSeats(Mutex<Vec<(Id, Weak<Seat>)>>);

impl LeftSeats {
    /// Notes that a seat is left.
    pub(super) fn add(&self, ticket: Id, seat: &Arc<Seat>) {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|(_, seat)| seat.strong_count() > 0);
        seats.push((ticket, Arc::downgrade(seat)));
    }

    /// Vacates those of a ticket.
    pub(super) fn vacate(&self, ticket: Id) {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, seat) in seats.extract_if(.., |(of, _)| *of == ticket) {
            if let Some(seat) = seat.upgrade() {
                seat.vacate();
            }
        }
    }
}
