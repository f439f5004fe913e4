//! Eviction of tickets at rest: everything of them is in MongoDB, and they come back from there when they are wanted.
//!
//! Redis must not refuse changes because of what it need not hold. So while it is nearly full they go, longest idle
//! first, before anything is refused; and when they have been idle for [`Limits::hot_for`], which also removes from the
//! index the ones that Redis itself expired. Any gateway may evict at any time: one script checks and removes.

use std::{collections::BTreeMap, time::Duration};

use fred::{
    clients::Client,
    interfaces::{ClientLike, SortedSetsInterface},
    types::Value,
};
use futures::future::try_join_all;
use ticket_shared::{id::Id, redis::hot_path, stream::Keys};

use super::look::{Limits, Memory, Sight};
use crate::{
    error::Error,
    script::{Items, Script},
};

/// The share of `maxmemory`, in percent, above which tickets at rest go.
const FULL: u64 = 70;
/// The least time a ticket rests before it is evicted: whoever just brought it back, or repeats a send whose answer was
/// lost, finds it.
const REST: Duration = Duration::from_secs(5);
/// The least time since its last change before a ticket with participants is evicted. Their gateways see within two
/// heartbeats what they missed, and take a ticket that is not there for one in which nothing happened.
pub(crate) const SEEN: Duration = Duration::from_secs(40);
/// Tickets in a round at most and at least, and in one call of the script: some 0.5 ms of Redis' time.
const ROUND: usize = 512;
const LEAST: usize = 16;
const CALL: usize = 64;
/// Rounds in a second.
pub(super) const ROUNDS: usize = 16;

/// Evicts tickets at rest.
pub(super) struct Evictor {
    redis: Client,
    keys: Keys,
    script: Script,
    limits: Limits,
}

/// The tickets of a partition that may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    partition: u16,
    /// At rest since before this, in ms since 1970.
    before: u64,
    /// Tickets with participants stay.
    spare: bool,
    /// An estimate of how many must go, never too high.
    count: u64,
}

/// A ticket that may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    since: u64,
    due: Due,
    ticket: Id,
}

impl Evictor {
    pub(super) fn new(redis: Client, keys: Keys, limits: Limits) -> Self {
        Self {
            redis,
            keys,
            script: Script::new(include_str!("evict.lua")),
            limits,
        }
    }

    /// One round. Returns how many tickets left; `None` if none may go.
    ///
    /// # Errors
    /// Redis can't be reached.
    pub(super) async fn round(&self, seen: &[Sight]) -> Result<Option<u64>, Error> {
        let due = due(seen, self.limits);
        let found = try_join_all(due.iter().map(|due| self.candidates(*due))).await?;
        let count = due.iter().map(|due| due.count).sum();
        let candidates = longest_idle(found.concat(), count);
        if candidates.is_empty() {
            return Ok(None);
        }
        let mut calls: BTreeMap<u16, Vec<Candidate>> = BTreeMap::new();
        for candidate in candidates {
            let of_partition = calls.entry(candidate.due.partition).or_default();
            of_partition.push(candidate);
        }
        let calls = calls.values().flat_map(|all| all.chunks(CALL));
        let removed = try_join_all(calls.map(|candidates| self.evict(candidates))).await?;
        Ok(Some(removed.into_iter().sum()))
    }

    async fn candidates(&self, due: Due) -> Result<Vec<Candidate>, Error> {
        let redis = self.redis.with_options(&hot_path());
        let key = self.keys.rest(due.partition);
        let limit = Some((0, i64::try_from(ROUND).unwrap_or(i64::MAX)));
        let before = i64::try_from(due.before).unwrap_or(i64::MAX);
        let found: Vec<(String, f64)> = redis
            .zrangebyscore(key, "-inf", before, true, limit)
            .await?;
        let candidates = found.into_iter().filter_map(|(id, since)| {
            Some(Candidate {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "times in ms are whole and far below 2^53"
                )]
                since: since as u64,
                due,
                ticket: id.parse().ok()?,
            })
        });
        Ok(candidates.collect())
    }

    /// Evicts tickets of one partition.
    async fn evict(&self, candidates: &[Candidate]) -> Result<u64, Error> {
        let Some(first) = candidates.first() else {
            return Ok(0);
        };
        let keys = &self.keys;
        let mut names = vec![keys.rest(first.due.partition)];
        let spare = if first.due.spare { "1" } else { "0" };
        let mut args: Vec<Value> = vec![spare.into(), SEEN.as_millis().to_string().into()];
        for Candidate { ticket, .. } in candidates {
            let ticket = *ticket;
            names.extend([
                keys.state(ticket),
                keys.log(ticket),
                keys.idem(ticket),
                keys.ahead(ticket),
                keys.here(ticket),
            ]);
            args.push(ticket.to_string().into());
        }
        let answer = self.script.call(&self.redis, names, args).await?;
        Ok(Items::of(answer).number())
    }
}

/// The tickets that may go from each partition.
fn due(seen: &[Sight], limits: Limits) -> Vec<Due> {
    // Below where changes are taken again, or they would be refused for what could have left.
    let full = FULL.min(limits.memory_percent * 17 / 20);
    let nearly = u64::midpoint(full, limits.memory_percent);
    let above = |memory: Memory, percent: u64| {
        memory.allowed > 0
            && u128::from(memory.used) * 100 > u128::from(memory.allowed) * u128::from(percent)
    };
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let partition = |(partition, sight): (usize, &Sight)| {
        let due = |time, count| Due {
            partition: u16::try_from(partition).unwrap_or(u16::MAX),
            before: sight.now.saturating_sub(ms(time)),
            spare: !above(sight.memory, nearly),
            count,
        };
        if sight.at_rest > 0 && above(sight.memory, full) {
            // As if they were all that Redis holds.
            let Memory { used, allowed } = sight.memory;
            let excess = used.saturating_sub(allowed / 100 * full);
            Some(due(
                REST,
                excess.saturating_mul(sight.at_rest) / used.max(1),
            ))
        } else {
            (sight.expired > 0).then(|| due(limits.hot_for, sight.expired))
        }
    };
    seen.iter().enumerate().filter_map(partition).collect()
}

/// The first of a round, over all partitions.
fn longest_idle(mut candidates: Vec<Candidate>, count: u64) -> Vec<Candidate> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    candidates.sort_by_key(|candidate| candidate.since);
    candidates.truncate(count.clamp(LEAST, ROUND));
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        backlog: 1,
        memory_percent: 85,
        hot_for: Duration::from_mins(1),
    };

    fn sight(used: u64, at_rest: u64, expired: u64) -> Sight {
        let memory = Memory { used, allowed: 100 };
        Sight {
            memory,
            now: 100_000,
            at_rest,
            expired,
            ..Sight::default()
        }
    }

    #[test]
    fn by_pressure_and_by_age() {
        let due = |sight, percent| {
            let limits = Limits {
                memory_percent: percent,
                ..LIMITS
            };
            due(&[sight], limits)
                .first()
                .map(|due| (due.before, due.spare))
        };
        assert_eq!(due(sight(70, 9, 0), 85), None);
        assert_eq!(due(sight(71, 9, 0), 85), Some((95_000, true)));
        assert_eq!(due(sight(78, 9, 0), 85), Some((95_000, false)));
        assert_eq!(due(sight(99, 0, 0), 85), None, "nothing of ours");
        assert_eq!(due(sight(1, 9, 1), 85), Some((40_000, true)));
        // A low limit refuses at 50 and takes changes again at 45.
        assert_eq!(due(sight(43, 9, 0), 50), Some((95_000, true)));
        let unbounded = Sight {
            memory: Memory {
                used: u64::MAX,
                allowed: 0,
            },
            ..sight(0, 9, 0)
        };
        assert_eq!(due(unbounded, 85), None);
    }

    #[test]
    fn the_longest_idle_go_first_whatever_their_partition() {
        let candidate = |since: u64| Candidate {
            since,
            due: Due {
                partition: u16::try_from(since % 16).unwrap(),
                before: u64::MAX,
                spare: true,
                count: 0,
            },
            ticket: Id::from_bytes([0; 12]),
        };
        let all: Vec<_> = (0..2 * ROUND as u64).rev().map(candidate).collect();
        for (count, most) in [(0, LEAST), (100, 100), (u64::MAX, ROUND)] {
            let first = longest_idle(all.clone(), count);
            assert_eq!(first.len(), most);
            assert!(first.iter().all(|first| first.since < most as u64));
        }
    }

    #[test]
    fn no_more_go_than_must() {
        let mut sight = sight(80, 1_000, 0);
        sight.memory = Memory {
            used: 80_000,
            allowed: 100_000,
        };
        assert_eq!(due(&[sight], LIMITS)[0].count, 125);
    }
}
