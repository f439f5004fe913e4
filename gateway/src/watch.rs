//! Watching what Redis holds: changes are refused before Redis has to refuse them, and an operator is told
//! when a promise does not hold because Redis keeps nothing or evicts.
//!
//! What is owed to MongoDB piles up in Redis while MongoDB or the workers are away. There is an end to that,
//! and it is better met with an answer that says "later" than with a Redis that is full.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use fred::clients::Client;
use prometheus_client::registry::Registry;
use serde::Serialize;
use ticket_shared::{lifecycle::Lifecycle, stream::Keys};

use crate::error::Error;

mod evict;
mod look;
mod metrics;

pub(crate) use evict::SEEN;
pub use look::{Limit, Limits};

use evict::{Evictor, ROUNDS};
use look::{Growth, Look, Looker, Sight, over};
use metrics::Metrics;

/// How often Redis is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What the last look at Redis showed. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Watch(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// The limit for which changes are refused: its place in [`Limit::ALL`], from 1; 0 for none.
    refused_for: AtomicU8,
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
    /// The limit for which changes are refused for now.
    pub fn refused_for(&self) -> Option<Limit> {
        let place = usize::from(self.0.refused_for.load(Ordering::Acquire));
        place
            .checked_sub(1)
            .and_then(|place| Limit::ALL.get(place).copied())
    }

    /// Admits a change, or refuses it.
    ///
    /// # Errors
    /// [`Error::Overloaded`], which names the limit.
    pub fn admit(&self) -> Result<(), Error> {
        match self.refused_for() {
            None => Ok(()),
            Some(limit) => {
                self.0.metrics.refused(limit);
                Err(Error::Overloaded(limit.reason()))
            }
        }
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
            let looker = Looker::new(redis.clone(), keys.clone(), limits);
            let evictor = Evictor::new(redis, keys, limits);
            let mut growth = Growth::default();
            loop {
                match looker.look().await {
                    Ok(seen) => {
                        let seen = watch.evict(&evictor, &looker, seen).await;
                        watch.note(Look::of(&seen), limits, &mut growth);
                    }
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

    /// Evicts the tickets at rest that may go, within bounds. Returns the last look, after which nothing more may.
    async fn evict(&self, evictor: &Evictor, looker: &Looker, mut seen: Vec<Sight>) -> Vec<Sight> {
        for _ in 0..ROUNDS {
            let latest = match evictor.round(&seen).await {
                Ok(None) => break,
                Ok(Some(removed)) => {
                    self.0.metrics.evicted.inc_by(removed);
                    looker.look().await
                }
                Err(error) => Err(error),
            };
            match latest {
                Ok(latest) => seen = latest,
                Err(error) => {
                    tracing::debug!(error = %error, "tickets at rest not evicted");
                    break;
                }
            }
        }
        seen
    }

    fn note(&self, look: Look, limits: Limits, growth: &mut Growth) {
        let before = self.refused_for();
        let now = over(look, limits, before);
        if now != before {
            let (backlog, used, allowed) = (look.backlog, look.used, look.allowed);
            if let Some(limit) = now {
                tracing::error!(
                    limit = limit.name(),
                    backlog.entries = backlog,
                    redis.used_bytes = used,
                    redis.allowed_bytes = allowed,
                    tickets.at_rest = look.at_rest,
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
        let place = Limit::ALL.iter().position(|limit| Some(*limit) == now);
        let place = place.and_then(|place| u8::try_from(place + 1).ok());
        self.0
            .refused_for
            .store(place.unwrap_or(0), Ordering::Release);
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
        metrics.at_rest.set(signed(look.at_rest));
        metrics.refuses(now);
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
