//! Who is in a ticket.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use engineioxide::Outlet;
use socketioxide::extract::SocketRef;
use ticket_shared::domain::Person;

use super::members::Connected;
use crate::{
    adapter::Adapter, audit::Cut, identify::claims_of, metrics::Metrics, presence::Lease,
    socket::Connection,
};

/// A socket's place in a ticket.
#[derive(Debug)]
pub struct Seat {
    /// Who the socket says it is.
    pub person: Person,
    vacated: AtomicBool,
}

impl Seat {
    /// A place for this person.
    pub fn new(person: Person) -> Arc<Self> {
        Arc::new(Self {
            person,
            vacated: AtomicBool::new(false),
        })
    }

    /// From now on nothing is sent to it, whatever waits for the ticket's task.
    pub fn vacate(&self) {
        self.vacated.store(true, Ordering::Release);
    }
}

/// A socket that is in the ticket.
pub(super) struct Member {
    pub(super) socket: SocketRef<Adapter>,
    pub(super) seat: Arc<Seat>,
    /// The way out to it.
    pub(super) outlet: Outlet,
}

impl Connected for Box<Member> {
    fn cut(&self, metrics: &Metrics) {
        let connection = self.socket.extensions.get::<Arc<Connection>>();
        let caller = connection.as_ref().map(|connection| connection.caller());
        let claims = caller.as_ref().and_then(claims_of).map(Arc::as_ref);
        metrics.audit.cut(Cut::RoomDied, claims);
        if let Some(connection) = connection {
            connection.line().close();
        }
    }
}

impl Member {
    pub(super) fn person(&self) -> &Person {
        &self.seat.person
    }

    pub(super) fn lease(&self) -> Lease<'_> {
        Lease {
            socket: self.socket.id.as_str(),
            person: self.person(),
        }
    }

    /// Whether it is sent what happens.
    pub(super) fn listens(&self) -> bool {
        !self.seat.vacated.load(Ordering::Acquire) && self.socket.connected()
    }
}
