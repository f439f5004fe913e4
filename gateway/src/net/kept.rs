//! How long a connection may be kept: without a request, and with one whose header does not come.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::WireState;

/// How long the header of a request may take, counted from its first byte; and the first request of a connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a connection is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What is known of a connection between its requests.
#[derive(Debug)]
pub(super) struct Kept {
    wire: Arc<WireState>,
    /// Requests that are not answered yet.
    asked: AtomicUsize,
    /// The latest of them waits for packets of Socket.IO.
    polls: AtomicBool,
    waits: Mutex<Waits>,
}

/// The reason why a connection is kept no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// No request came.
    Idle,
    /// The header of a request did not come in time.
    HalfHeader,
}

/// Activity of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Nothing.
    Idle,
    /// A request has begun: at least some of its header was read.
    Request,
    /// A client of Socket.IO waits for packets.
    Poll,
}

#[derive(Debug, Clone, Copy)]
struct Waits {
    since: Instant,
    /// When the first byte of a header was seen.
    begun: Option<Instant>,
    first: bool,
}

impl Waits {
    /// Returns the reason if it has waited for too long.
    fn over(&mut self, has_read: bool, keep: Duration, now: Instant) -> Option<Over> {
        if has_read {
            let begun = *self.begun.get_or_insert(now);
            let over = now.duration_since(begun) > HEADER_TIMEOUT;
            return over.then_some(Over::HalfHeader);
        }
        let most = if self.first { HEADER_TIMEOUT } else { keep };
        (now.duration_since(self.since) > most).then_some(Over::Idle)
    }
}

impl Kept {
    pub(super) fn new(wire: Arc<WireState>) -> Self {
        Self {
            wire,
            asked: AtomicUsize::new(0),
            polls: AtomicBool::new(false),
            waits: Mutex::new(Waits {
                since: Instant::now(),
                begun: None,
                first: true,
            }),
        }
    }

    /// A request has come; `polls` if it waits for packets of Socket.IO.
    pub(super) fn asked(&self, polls: bool) {
        self.polls.store(polls, Ordering::Release);
        self.asked.fetch_add(1, Ordering::AcqRel);
    }

    /// It was answered.
    pub(super) fn answered(&self) {
        *self.waits() = Waits {
            since: Instant::now(),
            begun: None,
            first: false,
        };
        self.wire.forget_read();
        self.asked.fetch_sub(1, Ordering::AcqRel);
    }

    /// Returns when the connection was kept for `keep` without a request, or for too long with half a header.
    pub(super) async fn over(&self, keep: Duration) -> Over {
        loop {
            tokio::time::sleep(LOOK.min(keep)).await;
            if self.asked.load(Ordering::Acquire) > 0 {
                continue;
            }
            let has_read = self.wire.has_read();
            let over = self.waits().over(has_read, keep, Instant::now());
            if let Some(over) = over {
                return over;
            }
        }
    }

    /// Returns what goes on over the connection.
    pub(super) fn now(&self) -> Use {
        let asked = self.asked.load(Ordering::Acquire) > 0;
        match (asked, self.polls.load(Ordering::Acquire)) {
            (true, true) => Use::Poll,
            (true, false) => Use::Request,
            (false, _) if self.wire.has_read() => Use::Request,
            (false, _) => Use::Idle,
        }
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_are_kept_for_longer_than_half_a_header() {
        let (start, keep) = (Instant::now(), Duration::from_secs(75));
        let at = |seconds| start + Duration::from_secs(seconds);
        let waits = |first| Waits {
            since: start,
            begun: None,
            first,
        };
        let mut kept = waits(false);
        assert_eq!(kept.over(false, keep, at(75)), None);
        assert_eq!(kept.over(false, keep, at(76)), Some(Over::Idle));
        assert_eq!(kept.over(true, keep, at(76)), None, "a request has begun");
        assert_eq!(kept.over(true, keep, at(96)), None);
        assert_eq!(kept.over(true, keep, at(97)), Some(Over::HalfHeader));
        let first = waits(true).over(false, keep, at(21));
        assert_eq!(first, Some(Over::Idle), "the first one");
    }

    #[test]
    fn a_request_begins_with_its_first_byte() {
        let wire = Arc::<WireState>::default();
        let kept = Kept::new(Arc::clone(&wire));
        assert_eq!(kept.now(), Use::Idle);
        wire.note_read();
        assert_eq!(kept.now(), Use::Request);
        kept.asked(true);
        assert_eq!(kept.now(), Use::Poll);
        kept.answered();
        assert_eq!(kept.now(), Use::Idle);
        kept.asked(false);
        assert_eq!(kept.now(), Use::Request);
    }
}
