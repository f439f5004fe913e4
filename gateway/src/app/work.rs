//! Whether this gateway can do its work, and if not, why.
//!
//! What must hold: a gateway that lacks a right from its start on gets no clients, so that a rollout with a wrong user stops
//! at its first gateway. One that was ready and then loses a right, as all others lose it, stays: what needs it is answered
//! with an error, and everything else is served.

use std::sync::atomic::{AtomicBool, Ordering};

use fred::clients::{Client, SubscriberClient};
use prometheus_client::registry::Registry;
use ticket_shared::{
    lifecycle::Lifecycle,
    redis::{Disconnected, Entrance, tell_why},
};

use crate::{
    store::{ReadHealth, Store},
    ticket::outcomes::Outcomes,
};

/// What decides it.
pub(super) struct Work {
    entrance: Entrance,
    outcomes: Outcomes,
    reads: ReadHealth,
    /// Reasons for which commands and subscriptions have no connection.
    disconnected: [Disconnected; 2],
    /// It was fit once.
    proven: AtomicBool,
}

impl Work {
    /// Begins to watch the outcomes of appends and reads, and the connections of these clients.
    pub(super) fn start(
        entrance: &Entrance,
        outcomes: &Outcomes,
        registry: &mut Registry,
        (commands, channels): (&Client, &SubscriberClient),
        store: &Store,
        life: &Lifecycle,
    ) -> Self {
        outcomes.register(registry);
        outcomes.watch(commands, entrance.keys(), life);
        let reads = ReadHealth::start(store, life);
        reads.register(registry);
        Self {
            entrance: entrance.clone(),
            outcomes: outcomes.clone(),
            reads,
            disconnected: [tell_why(commands, life), tell_why(channels, life)],
            proven: AtomicBool::new(false),
        }
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
        // Most often one reason ends both connections.
        let mut disconnected: Vec<String> = self.entrance.closed().reason().into_iter().collect();
        disconnected.extend(self.disconnected.iter().filter_map(Disconnected::reason));
        disconnected.dedup();
        let disconnected = disconnected.into_iter();
        reasons.extend(disconnected.map(|why| format!("no redis connection: {why}")));
        let failing = self.outcomes.failing();
        reasons.extend(failing.map(|failing| format!("appends fail: {}", failing.reason)));
        reasons.extend(self.reads.reasons());
        reasons
    }
}
