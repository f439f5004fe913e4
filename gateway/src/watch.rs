//! Watching what Redis holds: changes are refused before Redis has to refuse them, and an operator is told
//! when a promise does not hold because Redis keeps nothing or evicts.
//!
//! What is owed to MongoDB piles up in Redis while MongoDB or the workers are away. There is an end to that,
//! and it is better met with an answer that says "later" than with a Redis that is full.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fred::{clients::Client, types::Value};
use futures::future::try_join_all;
use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};
use serde::Serialize;
use ticket_shared::{
    lifecycle::Lifecycle,
    stream::{GROUP, Keys},
};

use crate::{
    error::Error,
    script::{Items, Script},
};

/// How often Redis is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Below this share of a limit, in percent, changes are taken again: not at the limit itself, or the two
/// answers would alternate.
const HEALED: u64 = 90;

/// From where on changes are refused.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries owed to MongoDB.
    pub backlog: u64,
    /// Memory of Redis, in percent of what it may use.
    pub memory_percent: u64,
}

/// What the last look at Redis showed. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Watch(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    refuses: AtomicBool,
    no_file: AtomicBool,
    evicts: AtomicBool,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Metrics {
    backlog: Gauge,
    oldest: Gauge,
    used: Gauge,
    allowed: Gauge,
    headroom: Gauge,
    append_only: Gauge,
    noeviction: Gauge,
    refuses: Gauge,
}

/// What does not hold because of how Redis is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// Without an append-only file a restart of Redis loses acknowledged changes.
    RedisKeepsNoAppendOnlyFile,
    /// A Redis that evicts loses acknowledged changes when it is full.
    RedisEvicts,
}

/// One look at all partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Look {
    backlog: u64,
    oldest_ms: u64,
    used: u64,
    allowed: u64,
    keeps_file: bool,
    noeviction: bool,
}

impl Watch {
    /// Whether changes are refused for now.
    pub fn refuses(&self) -> bool {
        self.0.refuses.load(Ordering::Acquire)
    }

    /// What an operator should mend.
    pub fn warnings(&self) -> Vec<Warning> {
        let no_file = self
            .0
            .no_file
            .load(Ordering::Acquire)
            .then_some(Warning::RedisKeepsNoAppendOnlyFile);
        let evicts = self
            .0
            .evicts
            .load(Ordering::Acquire)
            .then_some(Warning::RedisEvicts);
        no_file.into_iter().chain(evicts).collect()
    }

    /// Registers what is measured under the names that operators see.
    pub fn register(&self, registry: &mut Registry) {
        let metrics = &self.0.metrics;
        let (bytes, seconds) = (|| Unit::Bytes, || Unit::Seconds);
        registry.register(
            "backlog_entries",
            "Entries that are not in MongoDB yet",
            metrics.backlog.clone(),
        );
        registry.register_with_unit(
            "backlog_age",
            "Since the oldest of them",
            seconds(),
            metrics.oldest.clone(),
        );
        registry.register_with_unit(
            "redis_memory_used",
            "Memory that Redis uses",
            bytes(),
            metrics.used.clone(),
        );
        registry.register_with_unit(
            "redis_memory_allowed",
            "Memory that Redis may use; 0 without a bound",
            bytes(),
            metrics.allowed.clone(),
        );
        registry.register_with_unit(
            "redis_headroom",
            "Until changes are refused at the rate of the last minute; -1 where nothing grows",
            seconds(),
            metrics.headroom.clone(),
        );
        registry.register(
            "redis_append_only",
            "Whether Redis keeps an append-only file",
            metrics.append_only.clone(),
        );
        registry.register(
            "redis_noeviction",
            "Whether Redis never evicts",
            metrics.noeviction.clone(),
        );
        registry.register(
            "refusing_changes",
            "Whether changes are refused",
            metrics.refuses.clone(),
        );
    }

    /// Starts looking.
    pub fn start(&self, redis: Client, keys: Keys, limits: Limits, life: &Lifecycle) {
        let (watch, stopping) = (self.clone(), life.stopping().clone());
        life.spawn_vital("redis watch", async move {
            let script = Script::new(include_str!("watch.lua"));
            let mut growth = Growth::default();
            loop {
                match look(&script, &redis, &keys).await {
                    Ok(look) => watch.note(look, limits, &mut growth),
                    // Whoever changes something is told so anyway.
                    Err(error) => tracing::debug!(error = %error, "redis could not be looked at"),
                }
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(EVERY) => {}
                }
            }
        });
    }

    fn note(&self, look: Look, limits: Limits, growth: &mut Growth) {
        let before = self.refuses();
        let refuses = over(look, limits, before);
        if refuses != before {
            let (backlog, used) = (look.backlog, look.used);
            if refuses {
                tracing::error!(
                    backlog.entries = backlog,
                    redis.used_bytes = used,
                    "refusing changes"
                );
            } else {
                tracing::info!(
                    backlog.entries = backlog,
                    redis.used_bytes = used,
                    "taking changes again"
                );
            }
        }
        self.0.refuses.store(refuses, Ordering::Release);
        if !look.keeps_file && !self.0.no_file.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                "redis keeps no append-only file: a restart of it loses acknowledged changes"
            );
        }
        if !look.noeviction && !self.0.evicts.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                "redis may evict: set maxmemory-policy noeviction, or acknowledged changes are lost"
            );
        }
        self.0.no_file.store(!look.keeps_file, Ordering::Release);
        self.0.evicts.store(!look.noeviction, Ordering::Release);
        let metrics = &self.0.metrics;
        metrics.backlog.set(signed(look.backlog));
        metrics.oldest.set(signed(look.oldest_ms / 1_000));
        metrics.used.set(signed(look.used));
        metrics.allowed.set(signed(look.allowed));
        metrics
            .headroom
            .set(growth.headroom(look, limits).map_or(-1, signed));
        metrics.append_only.set(look.keeps_file.into());
        metrics.noeviction.set(look.noeviction.into());
        metrics.refuses.set(refuses.into());
    }
}

async fn look(script: &Script, redis: &Client, keys: &Keys) -> Result<Look, Error> {
    let calls = (0..keys.partitions()).map(|partition| {
        let names = vec![keys.events(partition), keys.dirty(partition)];
        script.call(redis, names, vec![Value::from(GROUP)])
    });
    let mut all = Look {
        keeps_file: true,
        noeviction: true,
        ..Look::default()
    };
    for answer in try_join_all(calls).await? {
        let mut items = Items::of(answer);
        all.backlog += items.number();
        all.oldest_ms = all.oldest_ms.max(items.number());
        let (used, allowed) = (items.number(), items.number());
        // On a cluster the fullest server counts: each has its own partitions.
        if fuller((used, allowed), (all.used, all.allowed)) {
            (all.used, all.allowed) = (used, allowed);
        }
        all.noeviction &= items.number() == 1;
        all.keeps_file &= items.number() == 1;
    }
    Ok(all)
}

/// Whether one server, given by the bytes that it uses and may use, is fuller than another. One without a bound
/// is never full; of two such the larger counts.
fn fuller((used, allowed): (u64, u64), (other_used, other_allowed): (u64, u64)) -> bool {
    match (allowed, other_allowed) {
        (0, 0) => used >= other_used,
        (0, _) => false,
        (_, 0) => true,
        _ => {
            u128::from(used) * u128::from(other_allowed)
                >= u128::from(other_used) * u128::from(allowed)
        }
    }
}

/// Whether a look calls for refusing changes; `refused` says whether they were already.
fn over(look: Look, limits: Limits, refused: bool) -> bool {
    let share = if refused { HEALED } else { 100 };
    let backlog = look.backlog.saturating_mul(100) > limits.backlog.saturating_mul(share);
    let allowed = look.allowed.saturating_mul(limits.memory_percent) / 100;
    let memory = allowed > 0 && look.used.saturating_mul(100) > allowed.saturating_mul(share);
    backlog || memory
}

/// How fast what is limited grows.
#[derive(Debug, Default)]
struct Growth {
    before: Option<(Instant, Look)>,
    last: Option<u64>,
}

impl Growth {
    /// Seconds until a limit is met, at the rate since the last minute began; nothing where nothing grows.
    fn headroom(&mut self, look: Look, limits: Limits) -> Option<u64> {
        let (since, before) = *self.before.get_or_insert((Instant::now(), look));
        let seconds = since.elapsed().as_secs();
        if seconds >= 10 {
            let allowed = look.allowed.saturating_mul(limits.memory_percent) / 100;
            let until = |now: u64, then: u64, limit: u64| {
                let rate = now.checked_sub(then).filter(|grown| *grown > 0)?;
                Some(limit.saturating_sub(now).saturating_mul(seconds) / rate)
            };
            let memory = (allowed > 0)
                .then(|| until(look.used, before.used, allowed))
                .flatten();
            let backlog = until(look.backlog, before.backlog, limits.backlog);
            self.last = [memory, backlog].into_iter().flatten().min();
        }
        if seconds >= 60 {
            self.before = Some((Instant::now(), look));
        }
        self.last
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        backlog: 1_000,
        memory_percent: 80,
    };

    #[test]
    fn the_fullest_server_is_the_one_with_the_least_room() {
        const GIB: u64 = 1 << 30;
        assert!(fuller((30 * GIB, 32 * GIB), (20 * GIB, 32 * GIB)));
        assert!(fuller((1, 2), (60 * GIB, 64 * GIB * 2)));
        assert!(
            fuller((1, 1_000), (60 * GIB, 0)),
            "one without a bound hides no other"
        );
        assert!(!fuller((60 * GIB, 0), (1, 1_000)));
    }

    #[test]
    fn either_limit_refuses_and_healing_needs_some_room() {
        let look = |backlog, used, allowed| Look {
            backlog,
            used,
            allowed,
            ..Look::default()
        };
        assert!(!over(look(1_000, 800, 1_000), LIMITS, false));
        assert!(over(look(1_001, 0, 0), LIMITS, false));
        assert!(over(look(0, 801, 1_000), LIMITS, false));
        assert!(over(look(950, 0, 0), LIMITS, true));
        assert!(!over(look(900, 720, 1_000), LIMITS, true));
        assert!(
            !over(look(0, u64::MAX, 0), LIMITS, false),
            "without a bound there is none"
        );
    }
}
