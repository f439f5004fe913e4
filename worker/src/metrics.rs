//! What the worker counts, for Prometheus.

use std::sync::{Arc, atomic::AtomicU64};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use ticket_shared::telemetry;

/// By what an entry says.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct KindLabel {
    pub(crate) kind: &'static str,
}

/// By why an entry was parked.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    pub(crate) reason: &'static str,
}

/// By what failed and is tried again.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct StepLabel {
    pub(crate) step: &'static str,
}

/// By part that the work needs.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct PartLabel {
    pub(crate) part: &'static str,
}

/// By partition.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct PartitionLabel {
    pub(crate) partition: u16,
}

/// Every metric. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    pub(crate) persisted: Family<KindLabel, Counter>,
    pub(crate) batches: Counter,
    pub(crate) batch_entries: Histogram,
    pub(crate) batch_seconds: Histogram,
    pub(crate) retries: Family<StepLabel, Counter>,
    pub(crate) parked: Family<ReasonLabel, Counter>,
    pub(crate) claimed: Counter,
    pub(crate) lost: Counter,
    pub(crate) restored: Counter,
    pub(crate) consumers_removed: Counter,
    pub(crate) length: Family<PartitionLabel, Gauge>,
    pub(crate) pending: Family<PartitionLabel, Gauge>,
    pub(crate) lag: Family<PartitionLabel, Gauge>,
    pub(crate) dead: Family<PartitionLabel, Gauge>,
    pub(crate) redis_up: Gauge<u64, AtomicU64>,
    pub(crate) mongo_up: Gauge<u64, AtomicU64>,
    pub(crate) refused: Family<PartLabel, Gauge>,
    pub(crate) stuck: Gauge,
    pub(crate) obstacles: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Arc::default(),
            persisted: Family::default(),
            batches: Counter::default(),
            batch_entries: Histogram::new(exponential_buckets(1.0, 4.0, 9)),
            batch_seconds: Histogram::new(exponential_buckets(0.002, 2.5, 10)),
            retries: Family::default(),
            parked: Family::default(),
            claimed: Counter::default(),
            lost: Counter::default(),
            restored: Counter::default(),
            consumers_removed: Counter::default(),
            length: Family::default(),
            pending: Family::default(),
            lag: Family::default(),
            dead: Family::default(),
            redis_up: Gauge::default(),
            mongo_up: Gauge::default(),
            refused: Family::default(),
            stuck: Gauge::default(),
            obstacles: Gauge::default(),
        };
        let mut registry = Registry::with_prefix("ticket_worker");
        metrics.register_work(&mut registry);
        metrics.register_state(&mut registry);
        telemetry::register(&mut registry);
        metrics.registry = Arc::new(registry);
        metrics
    }
}

impl Metrics {
    fn register_work(&self, registry: &mut Registry) {
        registry.register(
            "entries_persisted",
            "Entries that are in MongoDB and acknowledged, by kind",
            self.persisted.clone(),
        );
        registry.register("batches", "Batches settled", self.batches.clone());
        registry.register(
            "batch_entries",
            "Entries in a batch",
            self.batch_entries.clone(),
        );
        registry.register(
            "batch_seconds",
            "From the read of a batch to its last acknowledgement",
            self.batch_seconds.clone(),
        );
        registry.register(
            "retries",
            "Steps that failed and are tried again",
            self.retries.clone(),
        );
        registry.register(
            "entries_parked",
            "Entries moved to the dead stream, by reason",
            self.parked.clone(),
        );
        registry.register(
            "entries_claimed",
            "Entries taken over from workers that did not settle them",
            self.claimed.clone(),
        );
        registry.register(
            "entries_lost",
            "Entries that vanished before they were persisted and are nowhere; anything but 0 is data loss",
            self.lost.clone(),
        );
        registry.register(
            "entries_restored",
            "Entries that vanished from a stream and were put back into it from their tickets' logs",
            self.restored.clone(),
        );
        registry.register(
            "consumers_removed",
            "Consumers of gone workers that were removed from a partition's group",
            self.consumers_removed.clone(),
        );
    }

    fn register_state(&self, registry: &mut Registry) {
        registry.register(
            "stream_length",
            "Entries in a partition's stream",
            self.length.clone(),
        );
        registry.register(
            "stream_pending",
            "Entries of a partition that were read but not acknowledged",
            self.pending.clone(),
        );
        registry.register(
            "stream_lag",
            "Entries of a partition that were not read yet",
            self.lag.clone(),
        );
        registry.register(
            "dead_length",
            "Entries of a partition that are parked and wait for an operator",
            self.dead.clone(),
        );
        registry.register(
            "redis_up",
            "Whether Redis was reached lately",
            self.redis_up.clone(),
        );
        registry.register(
            "mongo_up",
            "Whether MongoDB was reached lately",
            self.mongo_up.clone(),
        );
        registry.register(
            "refused",
            "Whether a part refuses the work, by part; the worker is not ready then",
            self.refused.clone(),
        );
        registry.register(
            "batches_stuck",
            "Batches that an error of MongoDB holds up which is not understood",
            self.stuck.clone(),
        );
        registry.register(
            "database_obstacles",
            "Unique indexes, validators, collations and views that may refuse what is written",
            self.obstacles.clone(),
        );
    }

    /// All of it in the text format of Prometheus.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_dashboards_ask_for() {
        let metrics = Metrics::default();
        metrics
            .persisted
            .get_or_create(&KindLabel { kind: "message" })
            .inc_by(3);
        let text = metrics.text();
        for line in [
            "ticket_worker_entries_persisted_total{kind=\"message\"} 3",
            "ticket_worker_entries_lost_total 0",
            "ticket_worker_batches_total 0",
            "ticket_worker_consumers_removed_total 0",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
