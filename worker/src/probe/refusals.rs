//! What keeps the work from being done although Redis and MongoDB answer: rights, quotas, disks, views.
//!
//! What must hold: a worker that can't do its work is not ready, and says why in the server's own terms. One failure is
//! none: failovers pass.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Failures in a row that make a worker unready.
const FAILURES: u32 = 3;

/// What the work needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Redis,
    Mongo,
}

impl Part {
    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Mongo => "mongo",
        }
    }
}

/// What is refused. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusals(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Failures in a row of each reader.
    rows: Vec<[Row; 2]>,
    /// Commands that may not be run, if that was looked at.
    denied: [Option<Vec<String>>; 2],
}

#[derive(Debug, Default)]
struct Row {
    count: u32,
    reason: String,
}

/// Where one reader reports how its work goes.
#[derive(Debug)]
pub(crate) struct Reporter {
    refusals: Refusals,
    reader: usize,
}

impl Refusals {
    pub(super) fn reporter(&self) -> Reporter {
        let mut state = self.state();
        state.rows.push(Default::default());
        Reporter {
            refusals: self.clone(),
            reader: state.rows.len() - 1,
        }
    }

    /// Notes which commands a user may not run.
    pub(super) fn deny(&self, part: Part, commands: &[String]) {
        let mut state = self.state();
        let known = &mut state.denied[part as usize];
        if part == Part::Mongo && known.as_deref().unwrap_or_default() != commands {
            for command in commands {
                tracing::error!(reason = command, "mongodb refuses what is needed");
            }
        }
        *known = Some(commands.to_vec());
    }

    /// Whether it was looked at.
    pub(super) fn looked(&self, part: Part) -> bool {
        self.state().denied[part as usize].is_some()
    }

    /// Whether something may not be run.
    pub(super) fn denied(&self, part: Part) -> bool {
        let state = self.state();
        let denied = state.denied[part as usize].as_deref();
        !denied.unwrap_or_default().is_empty()
    }

    /// What is refused, and why: at most one reason of each part and cause.
    pub(super) fn reasons(&self) -> Vec<(Part, String)> {
        let state = self.state();
        let mut reasons = Vec::new();
        for part in [Part::Redis, Part::Mongo] {
            let failing = state
                .rows
                .iter()
                .map(|rows| &rows[part as usize])
                .find(|row| row.count >= FAILURES)
                .map(|row| row.reason.clone());
            let denied = state.denied[part as usize].iter().flatten().next().cloned();
            reasons.extend(failing.or(denied).map(|reason| (part, reason)));
        }
        reasons
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter {
    /// A step failed, and will be tried again.
    pub(crate) fn fails(&self, part: Part, reason: &(impl Display + ?Sized)) {
        let mut state = self.refusals.state();
        let row = &mut state.rows[self.reader][part as usize];
        row.count = row.count.saturating_add(1);
        row.reason = reason.to_string();
        if row.count == FAILURES {
            tracing::error!(
                part = part.name(),
                reason = row.reason,
                "work is refused, not ready"
            );
        }
    }

    /// A step succeeded.
    pub(crate) fn goes_on(&self, part: Part) {
        let mut state = self.refusals.state();
        let row = &mut state.rows[self.reader][part as usize];
        if row.count >= FAILURES {
            tracing::info!(part = part.name(), "work goes on");
        }
        row.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_of_one_reader_in_a_row_count() {
        let refusals = Refusals::default();
        let (one, other) = (refusals.reporter(), refusals.reporter());
        for _ in 0..2 {
            one.fails(Part::Mongo, "no");
            other.goes_on(Part::Mongo);
        }
        assert_eq!(refusals.reasons(), []);
        one.fails(Part::Mongo, "disk full");
        assert_eq!(refusals.reasons(), [(Part::Mongo, "disk full".to_owned())]);
        one.goes_on(Part::Redis);
        assert_eq!(refusals.reasons().len(), 1, "of another part");
        one.goes_on(Part::Mongo);
        assert_eq!(refusals.reasons(), []);
    }

    #[test]
    fn rights_that_are_missing_count_at_once() {
        let refusals = Refusals::default();
        assert!(!refusals.looked(Part::Mongo));
        refusals.deny(Part::Mongo, &["insert on t.messages: not granted".into()]);
        assert!(refusals.denied(Part::Mongo));
        assert_eq!(refusals.reasons().len(), 1);
        refusals.deny(Part::Mongo, &[]);
        assert!(refusals.looked(Part::Mongo) && !refusals.denied(Part::Mongo));
    }
}
