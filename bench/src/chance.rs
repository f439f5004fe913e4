//! Random numbers, for jitter and for places to listen: none of them decides a verdict.

use std::time::Duration;

/// A number below `limit`, which must not be 0.
pub(crate) fn below(limit: u64) -> u64 {
    // Without random numbers everything still works, only less spread.
    getrandom::u64().unwrap_or(0) % limit.max(1)
}

/// A time below `whole`.
pub(crate) fn up_to(whole: Duration) -> Duration {
    Duration::from_micros(below(u64::try_from(whole.as_micros()).unwrap_or(u64::MAX)))
}

/// A time between half of `whole` and all of it.
pub(crate) fn jittered(whole: Duration) -> Duration {
    whole / 2 + up_to(whole / 2)
}
