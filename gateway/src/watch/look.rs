//! One look at Redis: how much is owed, what room there is, and whether that calls for refusing changes.

use std::time::Instant;

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

/// From where on changes are refused.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries owed to MongoDB.
    pub backlog: u64,
    /// Memory of Redis, in percent of what it may use.
    pub memory_percent: u64,
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
}

/// Looks at all partitions.
///
/// # Errors
/// Where one can't be looked at.
pub(super) async fn look(script: &Script, redis: &Client, keys: &Keys) -> Result<Look, Error> {
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
pub(super) fn over(look: Look, limits: Limits, refused: bool) -> bool {
    let share = if refused { HEALED } else { 100 };
    let backlog = look.backlog.saturating_mul(100) > limits.backlog.saturating_mul(share);
    let allowed = look.allowed.saturating_mul(limits.memory_percent) / 100;
    let memory = allowed > 0 && look.used.saturating_mul(100) > allowed.saturating_mul(share);
    backlog || memory
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
