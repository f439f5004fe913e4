//! Whether this gateway can do its work, and if not, why.
//!
//! What must hold: a gateway that lacks a right from its start on gets no clients, so that a rollout with a wrong user stops
//! at its first gateway. One that was ready and then loses a right, as all others lose it, stays: what needs it is answered
//! with an error, and everything else is served.

use std::sync::atomic::{AtomicBool, Ordering};

use fred::clients::Client;
use prometheus_client::registry::Registry;
use ticket_shared::{lifecycle::Lifecycle, redis::Entrance};

use crate::{store::Store, ticket::outcomes::Outcomes};

/// What decides it.
pub(super) struct Work {
    entrance: Entrance,
    outcomes: Outcomes,
    /// It was fit once.
    proven: AtomicBool,
}

impl Work {
    /// Begins to watch the outcomes of appends.
    pub(super) fn start(
        entrance: &Entrance,
        outcomes: &Outcomes,
        registry: &mut Registry,
        commands: &Client,
        life: &Lifecycle,
    ) -> Self {
        outcomes.register(registry);
        outcomes.watch(commands, entrance.keys(), life);
        Self {
            entrance: entrance.clone(),
            outcomes: outcomes.clone(),
            proven: AtomicBool::new(false),
        }
    }

    /// Logs which reads MongoDB refuses, once. They make nothing unready: what is in Redis is served without them.
    pub(super) fn try_reads(store: &Store, life: &Lifecycle) {
        let store = store.clone();
        life.spawn(async move { store.tell_refused().await });
    }

    /// Whether clients should come; asked where nothing else speaks against it.
    pub(super) fn fit(&self) -> bool {
        if self.entrance.refused().is_empty() {
            self.proven.store(true, Ordering::Release);
        }
        self.proven.load(Ordering::Acquire) && !self.outcomes.unready()
    }

    /// What is refused or fails, in the server's own words.
    pub(super) fn reasons(&self) -> Vec<String> {
        let refused = self.entrance.refused();
        let mut reasons: Vec<String> = refused
            .into_iter()
            .map(|said| format!("redis refuses {said}"))
            .collect();
        let failing = self.outcomes.failing();
        reasons.extend(failing.map(|failing| format!("appends fail: {}", failing.reason)));
        reasons
    }
}
