//! What operators see of Redis.

use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};

/// The latest look, as gauges.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) backlog: Gauge,
    pub(super) oldest: Gauge,
    pub(super) used: Gauge,
    pub(super) allowed: Gauge,
    pub(super) headroom: Gauge,
    pub(super) append_only: Gauge,
    pub(super) noeviction: Gauge,
    pub(super) refuses: Gauge,
}

impl Metrics {
    /// Registers them under the names that operators see.
    pub(super) fn register(&self, registry: &mut Registry) {
        let (bytes, seconds) = (|| Unit::Bytes, || Unit::Seconds);
        registry.register(
            "backlog_entries",
            "Entries that are not in MongoDB yet",
            self.backlog.clone(),
        );
        registry.register_with_unit(
            "backlog_age",
            "Since the oldest of them",
            seconds(),
            self.oldest.clone(),
        );
        registry.register_with_unit(
            "redis_memory_used",
            "Memory that Redis uses",
            bytes(),
            self.used.clone(),
        );
        registry.register_with_unit(
            "redis_memory_allowed",
            "Memory that Redis may use; 0 without a bound",
            bytes(),
            self.allowed.clone(),
        );
        registry.register_with_unit(
            "redis_headroom",
            "Until changes are refused at the rate of the last minute; -1 where nothing grows",
            seconds(),
            self.headroom.clone(),
        );
        registry.register(
            "redis_append_only",
            "Whether Redis keeps an append-only file",
            self.append_only.clone(),
        );
        registry.register(
            "redis_noeviction",
            "Whether Redis never evicts",
            self.noeviction.clone(),
        );
        registry.register(
            "refusing_changes",
            "Whether changes are refused",
            self.refuses.clone(),
        );
    }
}
