//! The rate of one owner on this gateway, over all of its connections and after they ended.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    bucket::{Bucket, Rate},
    owner::Owner,
};

/// The time within which refusals are counted as abuse.
const ABUSE_WINDOW: Duration = Duration::from_secs(10);
/// The time within which use is counted, and how long an owner that hurried is watched.
const USE_WINDOW: Duration = Duration::from_secs(1);
const WATCHED: Duration = Duration::from_secs(10);
/// The part of its rate from which on an owner hurries.
const HURRY: u32 = 8;
/// The most connections of one owner whose rates outlive them. Beyond that the one with the most to pay back stays.
const ENDED: usize = 1_024;

/// Refusals of late.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Refusals {
    since: Option<Instant>,
    count: u32,
}

impl Refusals {
    /// Counts one, and returns whether that is one too many.
    pub(super) fn add(&mut self, most: u32, now: Instant) -> bool {
        if self.over(now) {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count = self.count.saturating_add(1);
        let abuse = most > 0 && self.count >= most;
        if abuse {
            *self = Self::default();
        }
        abuse
    }

    fn over(&self, now: Instant) -> bool {
        self.since
            .is_none_or(|since| now.duration_since(since) > ABUSE_WINDOW)
    }
}

/// What one connection has used of its rate.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) bucket: Bucket,
    pub(super) refusals: Refusals,
}

impl Spent {
    fn idle(&self, now: Instant) -> bool {
        self.bucket.idle(now) && self.refusals.over(now)
    }
}

/// What is reported of an owner that hurries.
#[derive(Debug, Default)]
struct Use {
    since: Option<Instant>,
    within: u32,
    unreported: u32,
    /// Waits to be reported.
    queued: bool,
    hurried: Option<Instant>,
    /// When other gateways last reported it. Until some time after that all of its use is reported: what is below
    /// [`HURRY`] at each of several gateways would add up.
    reported: Option<Instant>,
}

impl Use {
    /// Counts one, and returns whether the owner is to be reported.
    fn add(&mut self, rate: Rate, now: Instant) -> bool {
        let fresh = self
            .since
            .is_none_or(|since| now.duration_since(since) > USE_WINDOW);
        if fresh {
            (self.since, self.within) = (Some(now), 0);
            if !self.queued {
                self.unreported = 0;
            }
        }
        self.within += 1;
        self.unreported += 1;
        let watched = self
            .reported
            .is_some_and(|at| now.duration_since(at) < WATCHED);
        let hurries = watched || self.within.saturating_mul(HURRY) > rate.per_second();
        if hurries {
            self.hurried = Some(now);
        }
        hurries && !std::mem::replace(&mut self.queued, true)
    }
}

/// The rate of one owner. Every connection of it holds this one.
#[derive(Debug)]
pub(super) struct OwnerRate {
    pub(super) owner: Owner,
    pub(super) rate: Option<Rate>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bucket: Bucket,
    refusals: Refusals,
    used: Use,
    /// The connections, by their sessions.
    sessions: HashMap<Box<str>, Arc<Mutex<Spent>>>,
    /// Of connections that ended: what is not paid back yet.
    ended: Vec<Spent>,
}

impl OwnerRate {
    pub(super) fn new(owner: Owner, rate: Option<Rate>) -> Self {
        Self {
            owner,
            rate,
            state: Mutex::default(),
        }
    }

    /// Takes one token, and returns whether the owner is to be reported.
    ///
    /// # Errors
    /// How long until there is one.
    pub(super) fn take(&self, now: Instant) -> Result<bool, Duration> {
        let Some(rate) = self.rate else {
            return Ok(false);
        };
        let mut state = self.state();
        state.bucket.take(rate, now)?;
        Ok(state.used.add(rate, now))
    }

    /// Gives a token back: what it was taken for is counted for somebody else.
    pub(super) fn give_back(&self, now: Instant) {
        if let Some(rate) = self.rate {
            let mut state = self.state();
            state.bucket.give_back(rate, now);
            state.used.unreported = state.used.unreported.saturating_sub(1);
        }
    }

    /// Counts a refusal, and returns whether that is one too many.
    pub(super) fn refused(&self, most: u32, now: Instant) -> bool {
        self.state().refusals.add(most, now)
    }

    /// Whether the owner used much of its rate of late.
    pub(super) fn hurries(&self, now: Instant) -> bool {
        let hurried = self.state().used.hurried;
        hurried.is_some_and(|at| now.duration_since(at) < WATCHED)
    }

    /// What was used and not reported yet, in time.
    pub(super) fn report(&self) -> Duration {
        let mut state = self.state();
        state.used.queued = false;
        let used = std::mem::take(&mut state.used.unreported);
        self.rate.map_or(Duration::ZERO, |rate| rate.time(used))
    }

    /// What was used on all gateways is paid back after `debt`. A second's worth is kept back: gateways learn of each
    /// other late.
    pub(super) fn owes(&self, debt: Duration, now: Instant) {
        let mut state = self.state();
        state.bucket.owe(debt + USE_WINDOW, now);
        state.used.reported = Some(now);
    }

    /// Whether nothing is lost if this is dropped.
    pub(super) fn idle(&self, now: Instant) -> bool {
        let state = self.state();
        state.bucket.idle(now)
            && state.refusals.over(now)
            && state.sessions.is_empty()
            && state.ended.iter().all(|spent| spent.idle(now))
    }

    /// The rate of a session's connection: the one that it has, else that of a connection which ended and has the most
    /// to pay back.
    pub(super) fn begin(&self, session: &str, now: Instant) -> Arc<Mutex<Spent>> {
        let mut state = self.state();
        if let Some(spent) = state.sessions.get(session) {
            return Arc::clone(spent);
        }
        state.ended.retain(|spent| !spent.idle(now));
        let most = (0..state.ended.len()).max_by_key(|i| state.ended[*i].bucket);
        let spent = most.map(|i| state.ended.swap_remove(i)).unwrap_or_default();
        let spent = Arc::new(Mutex::new(spent));
        state.sessions.insert(session.into(), Arc::clone(&spent));
        spent
    }

    /// A connection of the session ended, and `spent` is dropped.
    pub(super) fn end(&self, session: &str, spent: &Arc<Mutex<Spent>>, now: Instant) {
        let mut state = self.state();
        // This one, and the one in the table.
        if Arc::strong_count(spent) > 2 {
            return;
        }
        state.sessions.remove(session);
        if state.sessions.is_empty() {
            state.sessions.shrink_to_fit();
        }
        let spent = *lock(spent);
        if spent.idle(now) {
            return;
        }
        if state.ended.len() < ENDED {
            state.ended.push(spent);
        } else if let Some(least) = state.ended.iter_mut().min_by_key(|spent| spent.bucket)
            && least.bucket < spent.bucket
        {
            *least = spent;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
