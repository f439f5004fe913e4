//! The outbound budget of a session, and the end of a client that does not read.
//!
//! The engine counts what is queued for the client, in packets and in bytes, over either transport. A packet that has no
//! room is lost, so its client is cut off: it comes back and resumes. The budget belongs to the session and follows the
//! transport that carries it, as the engine reports it.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use engineioxide::Session;
use prometheus_client::metrics::counter::Counter;

use crate::net::WireState;

/// The packets that may be queued for one session.
pub const PACKETS: usize = 256;
/// The bytes that may be queued for one session when another packet comes. So one packet may go beyond.
pub(super) const BYTES: usize = 1024 * 1024;

/// One session's way out.
#[derive(Debug, Default)]
pub struct Line {
    ended: AtomicBool,
    session: OnceLock<Session>,
    /// The connection of a websocket; none while the client polls.
    wire: Mutex<Option<Arc<WireState>>>,
    slow: Counter,
}

impl Line {
    /// A line that counts its end by slowness in `slow`.
    pub(crate) fn new(slow: Counter) -> Self {
        Self {
            slow,
            ..Self::default()
        }
    }

    fn wire(&self) -> MutexGuard<'_, Option<Arc<WireState>>> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine has accepted the session.
    pub(super) fn opened(&self, session: Session) {
        // It does so once.
        let _ = self.session.set(session);
    }

    /// The session, once the engine has accepted it.
    pub(super) fn session(&self) -> Option<&Session> {
        self.session.get()
    }

    /// The session goes over this connection from now on.
    pub(super) fn over(&self, wire: &Arc<WireState>) {
        *self.wire() = Some(Arc::clone(wire));
        if self.ended() {
            wire.abort();
        }
    }

    /// Ends the session because its client does not read.
    pub fn end(&self, reason: &'static str) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.slow.inc();
            tracing::info!(reason, "connection of a slow client closed");
            self.cut();
        }
    }

    /// Ends the session, whatever the reason; the caller has logged it.
    pub fn close(&self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.cut();
        }
    }

    /// Ends the connection first: the packet that says good-bye may have to wait behind others.
    fn cut(&self) {
        if let Some(wire) = &*self.wire() {
            wire.abort();
        }
        if let Some(session) = self.session.get() {
            session.close();
        }
    }

    /// Whether the session was ended.
    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_cut_off_over_the_connection_that_carries_it() {
        let line = Line::default();
        let (before, now) = (Arc::new(WireState::default()), Arc::default());
        line.over(&before);
        line.over(&now);
        line.end("its queue is full");
        line.end("its queue is full");
        assert!(line.ended() && now.aborted() && !before.aborted());
        assert_eq!(line.slow.get(), 1, "counted once");
    }

    #[test]
    fn an_ended_session_is_carried_no_further() {
        let line = Line::default();
        line.close();
        let late = Arc::new(WireState::default());
        line.over(&late);
        assert!(late.aborted());
        assert_eq!(line.slow.get(), 0, "it was not slow");
    }
}
