//! What waits for one client, and the end of a client that does not take it.
//!
//! The Socket.IO library counts packets only, and can't end a connection whose write does not return. So bytes
//! are counted here: those given to the connection against those that its [`Wire`](crate::net::Wire) has
//! written. Who is over is cut off at the wire; the client may come back and resume.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use prometheus_client::metrics::counter::Counter;

use crate::net::WireState;

/// How many packets may wait for one socket.
pub const PACKETS: usize = 256;
/// How many bytes may wait for one socket when another packet comes. So one packet may go beyond.
const BYTES: u64 = 1024 * 1024;

/// One client's way out.
#[derive(Debug, Default)]
pub struct Line {
    bytes: AtomicU64,
    ended: AtomicBool,
    /// The websocket's connection; none while the client polls.
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

    /// From now on the client is served over this connection.
    pub(crate) fn over(self: &Arc<Self>, wire: &Arc<WireState>) {
        *self.wire() = Some(Arc::clone(wire));
        wire.carry(self);
    }

    /// A packet of so many bytes is about to be given to the connection, or was. Ends the line where too much waits.
    /// More bytes than the packet has on the wire would never be settled: count less, not more.
    pub fn put(&self, bytes: usize) {
        // Over polling the bytes can't be followed; there the number of packets is the bound.
        if self.polls() {
            return;
        }
        let waiting = self.bytes.fetch_add(bytes as u64, Ordering::AcqRel);
        if waiting > BYTES {
            self.end("more than 1 MiB wait");
        }
    }

    /// The connection has written so many bytes.
    pub(crate) fn written(&self, bytes: usize) {
        // Frames and packets that nobody counted are written, too: never below nothing.
        let _ = self
            .bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
                Some(waiting.saturating_sub(bytes as u64))
            });
    }

    /// Ends the connection because its client does not read.
    pub fn end(&self, reason: &'static str) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.slow.inc();
            tracing::info!(reason, "connection of a slow client closed");
            self.cut();
        }
    }

    /// Ends the connection, whatever the reason; the caller has logged it.
    pub fn close(&self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.cut();
        }
    }

    fn cut(&self) {
        if let Some(wire) = &*self.wire() {
            wire.abort();
        }
    }

    /// Whether the client polls, as far as is known.
    pub(super) fn polls(&self) -> bool {
        self.wire().is_none()
    }

    /// Whether the connection is to end: one that polls is told when it asks.
    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried() -> (Arc<Line>, Arc<WireState>) {
        let (line, wire) = (Arc::new(Line::default()), Arc::new(WireState::default()));
        line.over(&wire);
        (line, wire)
    }

    #[test]
    fn what_was_written_does_not_wait() {
        let (line, wire) = carried();
        for _ in 0..100 {
            line.put(100_000);
            line.written(100_010);
        }
        assert!(!line.ended() && !wire.aborted());
    }

    #[test]
    fn a_client_that_takes_nothing_is_cut_off_beyond_the_limit() {
        let (line, wire) = carried();
        for _ in 0..11 {
            line.put(100_000);
        }
        assert!(!line.ended(), "one packet may cross the limit");
        line.put(1);
        assert!(line.ended() && wire.aborted());
        assert_eq!(line.slow.get(), 1);
        line.put(1);
        assert_eq!(line.slow.get(), 1, "counted once");
    }
}
