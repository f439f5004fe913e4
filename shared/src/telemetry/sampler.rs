//! Log lines that repeat: each place in the code writes so many within a window, the rest are counted.
//!
//! What writes without bound is what strangers cause, in our own lines and in those of libraries. Lines below `info`
//! of our own crates are written only if an operator asks for them, and then all of them; so are those with a field
//! named `audit`.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tracing::{Event, Level, Metadata, Subscriber, callsite::Identifier};
use tracing_subscriber::{Layer, layer::Context};

use super::OURS;
use crate::lifecycle::Lifecycle;

/// Lines that one place may write within a window.
const BURST: u32 = 20;
/// Length of the window.
const WINDOW: Duration = Duration::from_secs(10);
/// Interval at which the log says what was suppressed.
const REPORT: Duration = Duration::from_secs(30);
/// The field that keeps a line from being sampled.
const AUDIT: &str = "audit";

static SAMPLER: LazyLock<Sampler> = LazyLock::new(Sampler::default);

/// The sampler of this process, as a layer of its subscriber.
pub(super) struct Sampled;

impl<S: Subscriber> Layer<S> for Sampled {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        SAMPLER.admit(event.metadata(), Instant::now())
    }
}

/// Registers the counter of suppressed lines.
pub fn register(registry: &mut Registry) {
    registry.register(
        "log_lines_suppressed",
        "Log lines that were not written because their place in the code wrote too many",
        SAMPLER.suppressed.clone(),
    );
}

/// Says in the log, now and then and at the end, which places wrote too many lines.
pub fn report_suppressed(life: &Lifecycle) {
    let own = life.clone();
    life.spawn_vital("log sampling", async move {
        loop {
            let stopped = tokio::time::timeout(REPORT, own.stopping().cancelled()).await;
            SAMPLER.report();
            if stopped.is_ok() {
                return;
            }
        }
    });
}

#[derive(Default)]
struct Sampler {
    places: Mutex<HashMap<Identifier, Place>>,
    suppressed: Family<LevelLabel, Counter>,
}

/// A place in the code that writes lines: there are as many as the programs have, whatever clients do.
struct Place {
    metadata: &'static Metadata<'static>,
    since: Instant,
    written: u32,
    /// Lines suppressed that no report has named.
    suppressed: u64,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LevelLabel {
    level: &'static str,
}

impl Sampler {
    /// Whether a line is written.
    fn admit(&self, line: &'static Metadata<'static>, now: Instant) -> bool {
        let asked_for = *line.level() > Level::INFO && line.target().starts_with(OURS);
        if asked_for || line.fields().field(AUDIT).is_some() {
            return true;
        }
        let mut places = self.places();
        let place = places.entry(line.callsite()).or_insert(Place {
            metadata: line,
            since: now,
            written: 0,
            suppressed: 0,
        });
        if now.duration_since(place.since) >= WINDOW {
            (place.since, place.written) = (now, 0);
        }
        if place.written < BURST {
            place.written += 1;
            return true;
        }
        place.suppressed += 1;
        drop(places);
        let level = match *line.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        self.suppressed.get_or_create(&LevelLabel { level }).inc();
        false
    }

    fn report(&self) {
        for (line, suppressed) in self.take_suppressed() {
            tracing::warn!(
                audit = true,
                suppressed,
                log.target = line.target(),
                log.level = %line.level(),
                log.line = line.line(),
                "log lines suppressed"
            );
        }
    }

    fn take_suppressed(&self) -> Vec<(&'static Metadata<'static>, u64)> {
        let mut places = self.places();
        let counted = places.values_mut().filter(|place| place.suppressed > 0);
        counted
            .map(|place| (place.metadata, std::mem::take(&mut place.suppressed)))
            .collect()
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Identifier, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// A sampler and a clock of a test's own, and the messages of what passes.
    #[derive(Clone, Default)]
    struct Trial {
        sampler: Arc<Sampler>,
        later: Arc<Mutex<Duration>>,
        passed: Arc<Mutex<u32>>,
    }

    impl<S: Subscriber> Layer<S> for Trial {
        fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
            // One instant for all: a test's clock stands still unless it is moved.
            static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
            let now = *BEGAN + *self.later.lock().unwrap();
            self.sampler.admit(event.metadata(), now)
        }

        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            *self.passed.lock().unwrap() += 1;
        }
    }

    impl Trial {
        fn passed(&self, lines: impl FnOnce()) -> u32 {
            *self.passed.lock().unwrap() = 0;
            with_default(tracing_subscriber::registry().with(self.clone()), lines);
            *self.passed.lock().unwrap()
        }

        fn suppressed(&self, level: &'static str) -> u64 {
            let counter = self.sampler.suppressed.get_or_create(&LevelLabel { level });
            counter.get()
        }
    }

    fn strangers(count: u32) {
        for sid in 0..count {
            tracing::error!(target: "socketioxide::client", sid, "a stranger's packet");
        }
    }

    #[test]
    fn a_line_that_repeats_is_written_now_and_then_and_counted() {
        let trial = Trial::default();
        assert_eq!(trial.passed(|| strangers(20_000)), BURST);
        assert_eq!(trial.suppressed("error"), u64::from(20_000 - BURST));
        let other = || tracing::error!("another place");
        assert_eq!(trial.passed(other), 1, "it has a share of its own");
        *trial.later.lock().unwrap() = WINDOW;
        assert_eq!(trial.passed(|| strangers(1_000)), BURST, "a new window");
        let reported = trial.sampler.take_suppressed();
        assert_eq!(reported.len(), 1);
        assert_eq!(reported[0].0.target(), "socketioxide::client");
        assert_eq!(reported[0].1, u64::from(21_000 - 2 * BURST));
        assert!(trial.sampler.take_suppressed().is_empty(), "each once");
    }

    #[test]
    fn audited_lines_and_those_that_were_asked_for_are_all_written() {
        let trial = Trial::default();
        let audited = || (0..100).for_each(|_| tracing::info!(audit = true, "tokens revoked"));
        assert_eq!(trial.passed(audited), 100);
        let detail = || (0..100).for_each(|_| tracing::debug!("message appended"));
        assert_eq!(trial.passed(detail), 100);
        let ours = || (0..100).for_each(|_| tracing::warn!("request refused"));
        assert_eq!(trial.passed(ours), BURST);
        let foreign = || (0..100).for_each(|_| tracing::debug!(target: "fred", "a command"));
        assert_eq!(trial.passed(foreign), BURST);
    }
}
