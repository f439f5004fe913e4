//! What operators see of Redis.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::Limit;

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
    pub(super) at_rest: Gauge,
    pub(super) evicted: Counter,
    refuses: Gauge,
    limits: Family<LimitLabel, Gauge>,
    refused: Family<LimitLabel, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LimitLabel {
    limit: &'static str,
}

impl LimitLabel {
    const fn of(limit: Limit) -> Self {
        Self {
            limit: limit.name(),
        }
    }
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
        registry.register(
            "limit_exceeded",
            "Whether changes are refused for this limit",
            self.limits.clone(),
        );
        registry.register(
            "changes_refused",
            "Changes refused, by the limit",
            self.refused.clone(),
        );
        registry.register(
            "tickets_at_rest",
            "Tickets in Redis of which everything is in MongoDB",
            self.at_rest.clone(),
        );
        registry.register(
            "tickets_evicted",
            "Tickets at rest that this gateway took out of Redis, for want of memory or after HOT_FOR",
            self.evicted.clone(),
        );
    }

    /// Notes the limit for which changes are refused.
    pub(super) fn refuses(&self, now: Option<Limit>) {
        self.refuses.set(now.is_some().into());
        for limit in Limit::ALL {
            let exceeded = self.limits.get_or_create(&LimitLabel::of(limit));
            exceeded.set((now == Some(limit)).into());
        }
    }

    /// Counts a refused change.
    pub(super) fn refused(&self, limit: Limit) {
        self.refused.get_or_create(&LimitLabel::of(limit)).inc();
    }
}
