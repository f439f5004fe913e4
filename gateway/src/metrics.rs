//! What the gateway counts. Cheap to clone.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use ticket_shared::event::client;

use crate::audit::Audit;

/// Counters and gauges of one gateway.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Connected sockets.
    pub sockets: Gauge,
    /// Tickets that are followed for them.
    pub followed: Gauge,
    /// Holes that were seen in a ticket's channel and filled from its log.
    pub holes: Counter,
    /// Times that this gateway ceased to hear itself.
    pub deaf: Counter,
    /// Entries that Redis had given out and lost. Must stay 0.
    pub lost: Counter,
    /// Messages that the channels' connection dropped because they came too fast; filled from the logs.
    pub lagged: Counter,
    /// Deliveries that did not fit into a socket's send buffer.
    pub undelivered: Counter,
    /// Connections closed because their clients did not read.
    pub slow: Counter,
    /// Tasks of tickets that panicked.
    pub room_panics: Counter,
    /// Requests of a proxy that forwards something which is no address.
    pub forwarded_unreadable: Counter,
    /// Refused tokens, revocations, connections cut.
    pub audit: Audit,
    events: Family<EventLabels, Counter>,
    refused: Family<ReasonLabel, Counter>,
    rate_limited: Family<ScopeLabel, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ScopeLabel {
    scope: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EventLabels {
    event: &'static str,
    outcome: &'static str,
}

impl Metrics {
    /// Registers everything under the names that operators see.
    pub fn register(&self, registry: &mut Registry) {
        self.audit.register(registry);
        registry.register(
            "forwarded_unreadable",
            "Requests whose X-Forwarded-For names no address where it counts",
            self.forwarded_unreadable.clone(),
        );
        registry.register("sockets", "Connected sockets", self.sockets.clone());
        registry.register(
            "followed_tickets",
            "Tickets followed for the sockets in them",
            self.followed.clone(),
        );
        registry.register(
            "room_panics",
            "Tasks of tickets that panicked; the connections of their members were ended",
            self.room_panics.clone(),
        );
        registry.register(
            "channel_holes",
            "Holes in a ticket's channel, filled from its log",
            self.holes.clone(),
        );
        registry.register(
            "channel_lagged",
            "Channel messages dropped, filled from the logs",
            self.lagged.clone(),
        );
        registry.register(
            "deaf",
            "Times that this gateway ceased to hear itself",
            self.deaf.clone(),
        );
        registry.register(
            "lost_entries",
            "Entries that Redis gave out and lost",
            self.lost.clone(),
        );
        registry.register(
            "undelivered",
            "Deliveries that a socket's send buffer had no room for",
            self.undelivered.clone(),
        );
        registry.register(
            "events",
            "Events of clients, by outcome",
            self.events.clone(),
        );
        registry.register(
            "slow_closed",
            "Connections closed because their clients did not read",
            self.slow.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections not admitted, by reason",
            self.refused.clone(),
        );
        registry.register(
            "rate_limited",
            "Events and requests refused for coming too fast, by what they were counted for",
            self.rate_limited.clone(),
        );
    }

    /// Counts a connection that was not admitted.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts an event or a request that came too fast.
    pub fn rate_limited(&self, scope: &'static str) {
        self.rate_limited.get_or_create(&ScopeLabel { scope }).inc();
    }

    /// Counts one event. Names that are not of the contract are counted together: clients choose them.
    pub fn event(&self, name: &str, outcome: &'static str) {
        let event = client::ALL
            .into_iter()
            .find(|known| *known == name)
            .unwrap_or("unknown");
        self.events
            .get_or_create(&EventLabels { event, outcome })
            .inc();
    }
}
