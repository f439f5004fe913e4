//! One look at Redis: how much is owed, what room there is, and whether that calls for refusing changes.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use fred::{clients::Client, types::Value};
use futures::future::try_join_all;
use ticket_shared::stream::{GROUP, Keys};

use crate::{
    error::Error,
    script::{Items, Script},
};

/// Below this share of a limit, in percent, changes are taken again: not at the limit itself, or the two
/// answers would alternate.
const HEALED: u64 = 90;

/// From where on changes are refused, and for how long tickets at rest stay.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries owed to MongoDB.
    pub backlog: u64,
    /// Memory of Redis, in percent of what it may use.
    pub memory_percent: u64,
    /// How long a ticket stays in Redis after all of it is in MongoDB; zero: until memory runs short.
    pub hot_for: Duration,
}

/// A limit that is exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Redis' memory.
    Memory,
    /// Entries owed to MongoDB.
    Backlog,
}

impl Limit {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Memory, Self::Backlog];

    /// Its name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Backlog => "backlog",
        }
    }

    /// The text for the caller of a refused change.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Memory => "memory: Redis is nearly full (MEMORY_MAX_PERCENT)",
            Self::Backlog => "backlog: too much waits to be stored in MongoDB (BACKLOG_MAX)",
        }
    }
}

/// The memory of a Redis server, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) used: u64,
    /// 0 without a bound.
    pub(super) allowed: u64,
}

/// One look at one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) backlog: u64,
    pub(super) oldest_ms: u64,
    /// That of its server.
    pub(super) memory: Memory,
    pub(super) keeps_file: bool,
    pub(super) noeviction: bool,
    /// Redis' clock, in ms since 1970.
    pub(super) now: u64,
    /// Tickets of which everything is in MongoDB.
    pub(super) at_rest: u64,
    /// Those of them that have been so for longer than [`Limits::hot_for`].
    pub(super) expired: u64,
    /// The run of the partition's server.
    pub(super) server: Option<u64>,
}

/// One look at all partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) backlog: u64,
    pub(super) oldest_ms: u64,
    pub(super) used: u64,
    pub(super) allowed: u64,
    pub(super) keeps_file: bool,
    pub(super) noeviction: bool,
    pub(super) at_rest: u64,
}

/// Looks at all partitions.
pub(super) struct Looker {
    script: Script,
    redis: Client,
    keys: Keys,
    /// [`Limits::hot_for`] in ms.
    stay: String,
}

impl Looker {
    pub(super) fn new(redis: Client, keys: Keys, limits: Limits) -> Self {
        Self {
            script: Script::new(include_str!("../watch.lua")),
            redis,
            keys,
            stay: limits.hot_for.as_millis().to_string(),
        }
    }

    /// Looks at each.
    ///
    /// # Errors
    /// One can't be looked at.
    pub(super) async fn look(&self) -> Result<Vec<Sight>, Error> {
        let keys = &self.keys;
        let calls = (0..keys.partitions()).map(|partition| {
            let names = vec![
                keys.events(partition),
                keys.dirty(partition),
                keys.rest(partition),
            ];
            let args = vec![Value::from(GROUP), self.stay.as_str().into()];
            self.script.call(&self.redis, names, args)
        });
        let answers = try_join_all(calls).await?;
        let mut seen: Vec<Sight> = answers.into_iter().map(Sight::parse).collect();
        share_memory(&mut seen);
        Ok(seen)
    }
}

impl Sight {
    fn parse(answer: Value) -> Self {
        let mut items = Items::of(answer);
        let (backlog, oldest_ms) = (items.number(), items.number());
        let (used, allowed) = (items.number(), items.number());
        let (noeviction, keeps_file) = (items.number() == 1, items.number() == 1);
        let _could_write = items.value();
        Self {
            backlog,
            oldest_ms,
            memory: Memory { used, allowed },
            keeps_file,
            noeviction,
            now: items.number(),
            at_rest: items.number(),
            expired: items.number(),
            server: items.text().as_deref().and_then(run),
        }
    }
}

/// The beginning of a server's run id, which tells runs apart.
fn run(id: &str) -> Option<u64> {
    u64::from_str_radix(id.get(..16)?, 16).ok()
}

/// Gives the partitions of one server one figure of its memory. They are looked at one after the other, and near a
/// threshold some would be above it and others below.
fn share_memory(seen: &mut [Sight]) {
    let mut memories = HashMap::new();
    for sight in seen {
        if let Some(server) = sight.server {
            sight.memory = *memories.entry(server).or_insert(sight.memory);
        }
    }
}

impl Look {
    /// All partitions together.
    pub(super) fn of(seen: &[Sight]) -> Self {
        let mut all = Self {
            keeps_file: true,
            noeviction: true,
            ..Self::default()
        };
        for sight in seen {
            all.backlog += sight.backlog;
            all.oldest_ms = all.oldest_ms.max(sight.oldest_ms);
            // On a cluster the fullest server counts: each has its own partitions.
            let Memory { used, allowed } = sight.memory;
            if fuller((used, allowed), (all.used, all.allowed)) {
                (all.used, all.allowed) = (used, allowed);
            }
            all.noeviction &= sight.noeviction;
            all.keeps_file &= sight.keeps_file;
            all.at_rest += sight.at_rest;
        }
        all
    }
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

/// The limit that calls for refusing changes; `refused` is the one for which they were refused already. Of both, memory:
/// it is the one that more room in Redis would mend.
pub(super) fn over(look: Look, limits: Limits, refused: Option<Limit>) -> Option<Limit> {
    let share = |limit| {
        if refused == Some(limit) { HEALED } else { 100 }
    };
    let allowed = look.allowed.saturating_mul(limits.memory_percent) / 100;
    let memory =
        allowed > 0 && look.used.saturating_mul(100) > allowed.saturating_mul(share(Limit::Memory));
    let backlog =
        look.backlog.saturating_mul(100) > limits.backlog.saturating_mul(share(Limit::Backlog));
    if memory {
        Some(Limit::Memory)
    } else {
        backlog.then_some(Limit::Backlog)
    }
}

/// How fast what is limited grows.
#[derive(Debug, Default)]
pub(super) struct Growth {
    before: Option<(Instant, Look)>,
    last: Option<u64>,
}

impl Growth {
    /// Seconds until a limit is met, at the rate since the last minute began; nothing where nothing grows.
    pub(super) fn headroom(&mut self, look: Look, limits: Limits) -> Option<u64> {
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

#[cfg(test)]
mod tests;
