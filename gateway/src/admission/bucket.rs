//! Token buckets, alone and by key. A bucket is one point in time: when it would be full again.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How many keys a table holds before those that are idle are dropped.
const KEYS: usize = 4_096;
/// How many keys it holds at all. Beyond that new keys are not counted: the limits of the process hold still.
const KEYS_MOST: usize = 262_144;

/// How much is given, and how much at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    per_second: u32,
    each: Duration,
    burst: u32,
}

impl Rate {
    /// `per_second`, and `burst` at once; none where `per_second` is 0: no limit.
    pub(super) fn new(per_second: u32, burst: u32) -> Option<Self> {
        (per_second > 0).then(|| Self {
            per_second,
            each: Duration::from_secs(1) / per_second,
            burst: burst.max(1),
        })
    }

    pub(super) fn per_second(self) -> u32 {
        self.per_second
    }

    /// How long it takes until so many tokens are given.
    pub(super) fn time(self, tokens: u32) -> Duration {
        self.each * tokens
    }
}

/// One bucket; full at first. The one with more to pay back is the greater one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes one token.
    ///
    /// # Errors
    /// How long until there is one. Nothing was taken.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let room = rate.each * (rate.burst - 1);
        let taken = full_at.saturating_duration_since(now);
        if taken > room {
            return Err(taken.saturating_sub(room));
        }
        self.full_at = Some(full_at + rate.each);
        Ok(())
    }

    /// Gives one back.
    pub(super) fn give_back(&mut self, rate: Rate, now: Instant) {
        self.full_at = self
            .full_at
            .and_then(|at| at.checked_sub(rate.each))
            .filter(|at| *at > now);
    }

    /// It is not full before `debt` is over.
    pub(super) fn owe(&mut self, debt: Duration, now: Instant) {
        self.full_at = self.full_at.max(Some(now + debt));
    }

    /// Whether it is full.
    pub(super) fn idle(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }
}

/// A bucket for every key that is in use.
#[derive(Debug)]
pub(super) struct Keyed<K> {
    rate: Option<Rate>,
    table: Mutex<Table<K>>,
}

#[derive(Debug)]
struct Table<K> {
    buckets: HashMap<K, Bucket>,
    sweep_at: usize,
}

impl<K: Hash + Eq> Keyed<K> {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        let table = Table {
            buckets: HashMap::new(),
            sweep_at: KEYS,
        };
        Self {
            rate,
            table: Mutex::new(table),
        }
    }

    /// Takes one token from the key's bucket.
    ///
    /// # Errors
    /// How long until there is one.
    pub(super) fn take<Q>(&self, key: &Q, now: Instant) -> Result<(), Duration>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let Some(rate) = self.rate else {
            return Ok(());
        };
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = table.buckets.get_mut(key) {
            return bucket.take(rate, now);
        }
        if table.buckets.len() >= table.sweep_at {
            table.buckets.retain(|_, bucket| !bucket.idle(now));
            // Looked at again only when it has doubled, so that a sweep costs little per key.
            table.sweep_at = (2 * table.buckets.len()).clamp(KEYS, KEYS_MOST);
        }
        if table.buckets.len() >= KEYS_MOST {
            return Ok(());
        }
        let mut bucket = Bucket::default();
        let taken = bucket.take(rate, now);
        table.buckets.insert(key.to_owned(), bucket);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_given_at_once_and_then_the_rate() {
        let (rate, start) = (Rate::new(10, 3).unwrap(), Instant::now());
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            bucket.take(rate, start).unwrap();
        }
        assert_eq!(bucket.take(rate, start), Err(Duration::from_millis(100)));
        let later = start + Duration::from_millis(100);
        bucket.take(rate, later).unwrap();
        bucket.take(rate, later).unwrap_err();
        // Full again, and not fuller than full.
        let much_later = start + Duration::from_mins(1);
        for _ in 0..3 {
            bucket.take(rate, much_later).unwrap();
        }
        bucket.take(rate, much_later).unwrap_err();
    }

    #[test]
    fn nought_is_no_limit() {
        assert!(Rate::new(0, 5).is_none());
        let keyed = Keyed::<String>::new(None);
        for _ in 0..1_000 {
            keyed.take("a", Instant::now()).unwrap();
        }
    }

    #[test]
    fn keys_do_not_share_and_idle_ones_are_dropped() {
        let keyed = Keyed::<String>::new(Rate::new(1, 1));
        let start = Instant::now();
        keyed.take("a", start).unwrap();
        keyed.take("a", start).unwrap_err();
        keyed.take("b", start).unwrap();
        for i in 0..KEYS {
            keyed.take(i.to_string().as_str(), start).unwrap();
        }
        let later = start + Duration::from_secs(2);
        for i in 0..KEYS {
            keyed.take(format!("x{i}").as_str(), later).unwrap();
        }
        assert!(keyed.table.lock().unwrap().buckets.len() <= KEYS + 2);
    }
}
