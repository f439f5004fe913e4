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
    time::Duration,
};

use fred::clients::Client;
use prometheus_client::registry::Registry;
use serde::Serialize;
use ticket_shared::{lifecycle::Lifecycle, stream::Keys};

use crate::script::Script;

mod look;
mod metrics;

pub use look::Limits;

use look::{Growth, Look, look, over};
use metrics::Metrics;

/// How often Redis is looked at.
const EVERY: Duration = Duration::from_secs(1);

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

/// What does not hold because of how Redis is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// Without an append-only file a restart of Redis loses acknowledged changes.
    RedisKeepsNoAppendOnlyFile,
    /// A Redis that evicts loses acknowledged changes when it is full.
    RedisEvicts,
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
        self.0.metrics.register(registry);
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

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
