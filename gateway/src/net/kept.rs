//! How long a connection may be kept: without a request, and with one whose header does not come.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
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
    waits: Mutex<Waits>,
}

#[derive(Debug, Clone, Copy)]
struct Waits {
    since: Instant,
    /// When the first byte of a header was seen.
    begun: Option<Instant>,
    first: bool,
}

impl Waits {
    /// Whether it has waited for too long.
    fn over(&mut self, has_read: bool, keep: Duration, now: Instant) -> bool {
        if has_read {
            let begun = *self.begun.get_or_insert(now);
            return now.duration_since(begun) > HEADER_TIMEOUT;
        }
        let most = if self.first { HEADER_TIMEOUT } else { keep };
        now.duration_since(self.since) > most
    }
}

impl Kept {
    pub(super) fn new(wire: Arc<WireState>) -> Self {
        Self {
            wire,
            asked: AtomicUsize::new(0),
            waits: Mutex::new(Waits {
                since: Instant::now(),
                begun: None,
                first: true,
            }),
        }
    }

    /// A request has come.
    pub(super) fn asked(&self) {
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
    pub(super) async fn over(&self, keep: Duration) {
        loop {
            tokio::time::sleep(LOOK.min(keep)).await;
            if self.asked.load(Ordering::Acquire) == 0
                && self
                    .waits()
                    .over(self.wire.has_read(), keep, Instant::now())
            {
                return;
            }
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
        assert!(!kept.over(false, keep, at(75)));
        assert!(kept.over(false, keep, at(76)));
        assert!(!kept.over(true, keep, at(76)), "a request has begun");
        assert!(!kept.over(true, keep, at(96)));
        assert!(kept.over(true, keep, at(97)));
        assert!(waits(true).over(false, keep, at(21)), "the first one");
    }
}
