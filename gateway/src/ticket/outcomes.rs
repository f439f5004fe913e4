//! Whether appends succeed, and if not, whether that is a matter of this gateway.
//!
//! What must hold:
//! - A gateway leaves the balancer for a reason that another gateway need not have: it does not reach the primary. What no
//!   gateway can mend (rights, quotas, memory, a disk, replicas) only warns: if all left for it, clients would get no
//!   answer instead of one that says why, and readers, who are served all the same, would get none.
//! - One failure is none. A gateway without traffic finds out by itself when it works again.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fred::{
    clients::Client,
    error::{Error as RedisError, ErrorKind},
    interfaces::{ClientLike, KeysInterface},
};
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use ticket_shared::{
    lifecycle::Lifecycle,
    redis::{Failure, failure, hot_path, words},
    stream::Keys,
};

/// Groups in a row that must fail.
const FAILURES: u32 = 3;
/// Time since the first of them.
const LASTING: Duration = Duration::from_secs(4);
/// Interval between the gateway's own attempts while appends fail.
const TRY: Duration = Duration::from_secs(1);

/// The outcomes of the last appends. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Outcomes(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    gauge: Gauge,
    /// Something failed since the last success. Looked at on the hot path.
    failing: AtomicBool,
    row: Mutex<Option<Row>>,
}

/// Failures in a row.
#[derive(Debug, Clone)]
struct Row {
    since: Instant,
    count: u32,
    reason: String,
    own: bool,
}

/// Why appends fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The server's own words.
    pub reason: String,
    /// Whether it is a matter of this gateway, which is unready then.
    pub own: bool,
}

impl Outcomes {
    /// Registers what is measured.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "appends_failing",
            "Whether all of the last appends failed for one reason",
            self.0.gauge.clone(),
        );
    }

    /// Notes that a group of appends was performed.
    pub(super) fn succeeded(&self) {
        if self.0.failing.swap(false, Ordering::AcqRel) {
            let row = self.row().take();
            if row.is_some_and(|row| row.lasts()) {
                tracing::info!("appends succeed again");
            }
        }
    }

    /// Notes that a group of appends failed as a whole.
    pub(super) fn failed(&self, error: &RedisError) {
        if matches!(failure(error), Failure::Defect | Failure::NoScript) {
            return;
        }
        let (reason, own) = (words(error), is_own(error));
        let mut row = self.row();
        let lasted = row.as_ref().is_some_and(Row::lasts);
        let now = match row.take() {
            Some(row) if row.own == own => Row {
                count: row.count.saturating_add(1),
                reason,
                ..row
            },
            _ => Row {
                since: Instant::now(),
                count: 1,
                reason,
                own,
            },
        };
        if now.lasts() && !lasted {
            tracing::error!(
                reason = now.reason,
                "appends fail, all of them for one reason"
            );
        }
        *row = Some(now);
        self.0.failing.store(true, Ordering::Release);
    }

    /// Why appends fail, if they do for some time.
    pub fn failing(&self) -> Option<Failing> {
        if !self.0.failing.load(Ordering::Acquire) {
            return None;
        }
        let row = self.row().clone().filter(Row::lasts)?;
        Some(Failing {
            reason: row.reason,
            own: row.own,
        })
    }

    /// Whether this gateway should get no clients because of it.
    pub fn unready(&self) -> bool {
        self.failing().is_some_and(|failing| failing.own)
    }

    /// Tries a write of its own while appends fail, until the process stops.
    pub fn watch(&self, redis: &Client, keys: &Keys, life: &Lifecycle) {
        let (outcomes, redis, key) = (self.clone(), redis.clone(), keys.probe());
        let stopping = life.stopping().clone();
        life.spawn_vital("append outcomes", async move {
            let redis = redis.with_options(&hot_path());
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(TRY) => {}
                }
                // What it frees nothing of it may do even if it is full, so it tells nothing of that: appends do.
                if outcomes.row().as_ref().is_some_and(|row| row.own)
                    && redis.del::<i64, _>(&key).await.is_ok()
                {
                    outcomes.succeeded();
                }
                outcomes.0.gauge.set(outcomes.failing().is_some().into());
            }
        });
    }

    fn row(&self) -> std::sync::MutexGuard<'_, Option<Row>> {
        self.0.row.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    fn lasts(&self) -> bool {
        self.count >= FAILURES && self.since.elapsed() >= LASTING
    }
}

/// Whether a failure says that this gateway does not reach the primary, and nothing of the primary itself.
fn is_own(error: &RedisError) -> bool {
    let own = ["READONLY", "MASTERDOWN", "LOADING", "UNBLOCKED", "MOVED"];
    let code = error.details().split(' ').next().unwrap_or_default();
    own.contains(&code)
        || matches!(
            error.kind(),
            ErrorKind::IO
                | ErrorKind::Timeout
                | ErrorKind::Canceled
                | ErrorKind::Routing
                | ErrorKind::Tls
                | ErrorKind::Sentinel
                | ErrorKind::Backpressure
        )
        || error.details() == "Failed to route command."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(outcomes: &Outcomes, details: &'static str) {
        outcomes.failed(&RedisError::new(ErrorKind::Unknown, details));
    }

    /// As if the row had begun long ago.
    fn age(outcomes: &Outcomes) {
        if let Some(row) = outcomes.row().as_mut() {
            row.since = Instant::now().checked_sub(LASTING).unwrap();
        }
    }

    #[test]
    fn a_gateway_that_does_not_reach_the_primary_is_unready_after_a_while() {
        let outcomes = Outcomes::default();
        for _ in 0..FAILURES {
            assert!(!outcomes.unready());
            failing(
                &outcomes,
                "READONLY You can't write against a read only replica.",
            );
            age(&outcomes);
        }
        assert!(outcomes.unready());
        outcomes.succeeded();
        assert_eq!(outcomes.failing(), None);
    }

    #[test]
    fn what_no_gateway_can_mend_only_warns() {
        for details in [
            "ERR max daily request limit exceeded",
            "NOPERM User x has no permissions to run the 'evalsha' command",
            "OOM command not allowed when used memory > 'maxmemory'.",
        ] {
            let outcomes = Outcomes::default();
            for _ in 0..FAILURES {
                failing(&outcomes, details);
            }
            age(&outcomes);
            let told = outcomes.failing().unwrap();
            assert_eq!((told.reason.as_str(), told.own), (details, false));
            assert!(!outcomes.unready());
        }
    }

    #[test]
    fn a_burst_of_failures_is_not_enough() {
        let outcomes = Outcomes::default();
        for _ in 0..100 {
            failing(&outcomes, "Failed to route command.");
        }
        assert_eq!(outcomes.failing(), None, "not for long enough");
    }
}
