//! What the driver counts: above all what it drops, because nobody else hears of that.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Why an event was dropped.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct DropLabel {
    reason: &'static str,
}

/// The driver's counters. Clones count together.
#[derive(Clone, Debug)]
pub struct DriverMetrics {
    dropped: Family<DropLabel, Counter>,
    pub(super) published: Counter,
    pub(super) received: Counter,
    pub(super) reconnects: Counter,
    /// The queue to Redis was full.
    pub(super) queue_full: Counter,
    /// It waited too long for Redis.
    pub(super) stale: Counter,
    /// Redis did not take it, or did not say so.
    pub(super) failed: Counter,
    /// The namespace did not read fast enough.
    pub(super) stream_full: Counter,
    /// This process did not read fast enough from its connection.
    pub(super) lagged: Counter,
}

impl Default for DriverMetrics {
    fn default() -> Self {
        let dropped = Family::<DropLabel, Counter>::default();
        // All of them from the start: an alert needs the zero before the first one.
        let reason = |reason| dropped.get_or_create_owned(&DropLabel { reason });
        Self {
            queue_full: reason("queue_full"),
            stale: reason("stale"),
            failed: reason("failed"),
            stream_full: reason("stream_full"),
            lagged: reason("lagged"),
            published: Counter::default(),
            received: Counter::default(),
            reconnects: Counter::default(),
            dropped,
        }
    }
}

impl DriverMetrics {
    /// Adds the counters to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "adapter_dropped",
            "Cluster-wide events that were dropped, by reason",
            self.dropped.clone(),
        );
        registry.register(
            "adapter_published",
            "Cluster-wide events that Redis took",
            self.published.clone(),
        );
        registry.register(
            "adapter_received",
            "Cluster-wide events that came from Redis, own ones included",
            self.received.clone(),
        );
        registry.register(
            "adapter_reconnects",
            "Connections for subscriptions that were made, the first included",
            self.reconnects.clone(),
        );
    }
}
