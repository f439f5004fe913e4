//! Clients that were refused for so long that they are turned away for a while, each time for twice as long.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::owner::Owner;

/// The first ban. Each further one is twice as long.
pub(super) const SHORTEST: Duration = Duration::from_secs(1);
/// The longest ban.
pub(super) const LONGEST: Duration = Duration::from_mins(5);
/// How long after its end a ban still makes the next one longer.
pub(super) const REMEMBERED: Duration = Duration::from_mins(5);
/// The most owners in the table. Beyond that an owner is only cut off.
const OWNERS: usize = 10_000;

/// One owner's ban.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ban {
    /// When it ends.
    pub(super) until: Instant,
    /// Which one in a row it is.
    pub(super) strikes: u32,
}

/// The bans that this gateway knows of.
#[derive(Debug, Default)]
pub(super) struct Bans {
    /// Hardly ever is there one.
    any: AtomicBool,
    table: Mutex<HashMap<Owner, Ban>>,
}

/// The length of a ban.
pub(super) fn length(strikes: u32) -> Duration {
    let doubled = 1_u32
        .checked_shl(strikes.saturating_sub(1))
        .unwrap_or(u32::MAX);
    SHORTEST.saturating_mul(doubled).min(LONGEST)
}

impl Bans {
    /// How long an owner is turned away for still.
    pub(super) fn left(&self, owner: Owner, now: Instant) -> Option<Duration> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let until = self.table().get(&owner)?.until;
        let left = until.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Turns an owner away, unless it is already. Returns for how long.
    pub(super) fn strike(&self, owner: Owner, now: Instant) -> Option<Duration> {
        let mut table = self.table();
        let before = table.get(&owner).copied();
        if before.is_some_and(|ban| now < ban.until) {
            return None;
        }
        let counts = before.filter(|ban| now < ban.until + REMEMBERED);
        let strikes = counts.map_or(0, |ban| ban.strikes).saturating_add(1);
        let length = length(strikes);
        let ban = Ban {
            until: now + length,
            strikes,
        };
        self.set(&mut table, owner, ban, now);
        Some(length)
    }

    /// Takes over what another gateway decided.
    pub(super) fn learn(&self, owner: Owner, ban: Ban, now: Instant) {
        let mut table = self.table();
        let known = table.get(&owner).copied();
        if known.is_none_or(|known| known.until < ban.until) {
            self.set(&mut table, owner, ban, now);
        }
    }

    fn set(&self, table: &mut HashMap<Owner, Ban>, owner: Owner, ban: Ban, now: Instant) {
        if table.len() >= OWNERS {
            table.retain(|_, ban| now < ban.until + REMEMBERED);
        }
        if table.len() < OWNERS || table.contains_key(&owner) {
            table.insert(owner, ban);
            self.any.store(true, Ordering::Release);
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Owner, Ban>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ban_is_twice_as_long_up_to_five_minutes() {
        let bans = Bans::default();
        let owner = Owner::identity("user:a");
        let mut now = Instant::now();
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let length = bans.strike(owner, now).unwrap();
            assert_eq!(length.as_secs(), seconds);
            assert_eq!(bans.strike(owner, now), None, "banned already");
            assert_eq!(bans.left(owner, now), Some(length));
            now += length;
            assert_eq!(bans.left(owner, now), None);
        }
        assert_eq!(bans.left(Owner::identity("user:b"), now), None);
        now += REMEMBERED;
        assert_eq!(bans.strike(owner, now), Some(SHORTEST), "forgotten");
    }

    #[test]
    fn what_others_decided_holds_and_never_shortens() {
        let (bans, now) = (Bans::default(), Instant::now());
        let owner = Owner::identity("user:a");
        let ban = |seconds, strikes| Ban {
            until: now + Duration::from_secs(seconds),
            strikes,
        };
        bans.learn(owner, ban(8, 4), now);
        bans.learn(owner, ban(2, 2), now);
        assert_eq!(bans.left(owner, now), Some(Duration::from_secs(8)));
        let later = now + Duration::from_secs(8);
        assert_eq!(bans.strike(owner, later), Some(Duration::from_secs(16)));
    }

    #[test]
    fn the_table_is_bounded() {
        let (bans, now) = (Bans::default(), Instant::now());
        for i in 0..OWNERS + 10 {
            bans.strike(Owner::identity(&i.to_string()), now);
        }
        assert_eq!(bans.table().len(), OWNERS);
        let later = now + SHORTEST + REMEMBERED;
        bans.strike(Owner::identity("new"), later);
        assert_eq!(bans.table().len(), 1);
    }
}
