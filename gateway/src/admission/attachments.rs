//! The bounds of an event that comes in pieces: a text that announces attachments, and the attachments.

use ticket_shared::domain::limits;
use tokio::time::Instant;

/// The most attachments that an event may announce.
const MOST: usize = 10;

/// The event of a session that waits for attachments.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    missing: usize,
    bytes: usize,
    since: Option<Instant>,
    watched: bool,
}

/// The state of the event after another piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is within its bounds.
    Fine,
    /// It has begun, and must be watched from now on.
    Begun,
    /// It has too many attachments or is too large.
    Beyond,
}

impl Attachments {
    /// A text of so many bytes announces so many attachments.
    pub(super) fn announced(&mut self, count: usize, bytes: usize) -> Step {
        self.bytes = bytes;
        if count > MOST || bytes > limits::FRAME {
            return Step::Beyond;
        }
        self.missing = count;
        self.since = (count > 0).then(Instant::now);
        if count == 0 || std::mem::replace(&mut self.watched, true) {
            return Step::Fine;
        }
        Step::Begun
    }

    /// An attachment of so many bytes came.
    pub(super) fn came(&mut self, bytes: usize) -> Step {
        if self.missing == 0 {
            // Nobody announced it, and the parser ends the session.
            return Step::Fine;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > limits::FRAME {
            return Step::Beyond;
        }
        self.missing -= 1;
        if self.missing == 0 {
            self.since = None;
        }
        Step::Fine
    }

    /// The beginning of the event that waits.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// The same for the task that watches, which is over if none waits.
    pub(super) fn watched(&mut self) -> Option<Instant> {
        self.watched = self.since.is_some();
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_bounded_with_its_attachments() {
        let mut it = Attachments::default();
        assert_eq!(it.announced(MOST, limits::FRAME - 1), Step::Begun);
        assert_eq!(it.came(1), Step::Fine);
        assert_eq!(it.came(1), Step::Beyond);
        assert_eq!(it.announced(MOST + 1, 10), Step::Beyond);
        assert_eq!(it.announced(1, limits::FRAME + 1), Step::Beyond);
    }

    #[test]
    fn each_event_has_its_own_bounds_and_time() {
        let mut it = Attachments::default();
        assert_eq!(it.announced(2, 10), Step::Begun);
        let first = it.watched().unwrap();
        assert_eq!(it.came(limits::FRAME / 2), Step::Fine);
        assert!(it.since().is_some());
        assert_eq!(it.came(100), Step::Fine);
        assert_eq!(it.since(), None, "it is whole");
        assert_eq!(it.announced(1, 10), Step::Fine, "watched still");
        assert_ne!(it.since(), Some(first));
        assert_eq!(it.came(limits::FRAME - 10), Step::Fine);
        assert_eq!(it.watched(), None);
        assert_eq!(it.announced(1, 10), Step::Begun, "watched anew");
    }

    #[test]
    fn nothing_is_counted_that_nobody_announced() {
        let mut it = Attachments::default();
        assert_eq!(it.announced(0, 10), Step::Fine);
        assert_eq!(it.came(usize::MAX), Step::Fine);
    }
}
