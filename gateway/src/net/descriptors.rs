//! File descriptors: how many this process may have, and how many of them clients leave to everything else.

use std::{
    fs,
    os::fd::{AsRawFd, RawFd},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How many are kept back: for Redis and MongoDB, which may have to be connected to again, for operators who ask how
/// it is, and for telling clients that there are none left.
const RESERVE: RawFd = 64;
/// At most this part of all.
const SHARE: RawFd = 8;
/// For how long it counts that there was none.
const LATELY: Duration = Duration::from_secs(2);
/// How soon it may be logged again.
const QUIET: Duration = Duration::from_secs(10);

/// The file descriptors of this process.
#[derive(Debug)]
pub struct Descriptors {
    /// The first of those that are kept back. Without a limit that can be told, none are.
    reserved: Option<RawFd>,
    ran_out: Mutex<Option<Instant>>,
}

impl Descriptors {
    /// Asks the system how many there may be. A limit that is changed later is not seen.
    pub fn of_this_process() -> Self {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self {
            reserved: limit(&limits).map(reserved),
            ran_out: Mutex::default(),
        }
    }

    /// How many of them one address may have: two thirds of those for clients.
    pub(super) fn share(&self) -> usize {
        let all = self
            .reserved
            .and_then(|reserved| usize::try_from(reserved).ok());
        all.map_or(usize::MAX, |all| (all * 2 / 3).max(1))
    }

    /// Whether there was none for a client, a moment ago.
    pub fn exhausted(&self) -> bool {
        let at = self.ran_out.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| at.elapsed() < LATELY)
    }

    /// Whether this is one of those that are kept back. The system gives the lowest one that is free: all below it
    /// are taken.
    pub(super) fn keeps_back(&self, descriptor: &impl AsRawFd) -> bool {
        self.reserved
            .is_some_and(|reserved| descriptor.as_raw_fd() >= reserved)
    }

    pub(super) fn ran_out(&self) {
        let mut at = self.ran_out.lock().unwrap_or_else(PoisonError::into_inner);
        if at.is_none_or(|at| at.elapsed() > QUIET) {
            tracing::error!("no file descriptors left for clients");
        }
        *at = Some(Instant::now());
    }
}

/// What the kernel's table says of open files.
fn limit(limits: &str) -> Option<RawFd> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn reserved(limit: RawFd) -> RawFd {
    limit - RESERVE.min(limit / SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let table = "Limit                     Soft Limit           Hard Limit           Units     \n\
                     Max processes             95                   unlimited            processes \n\
                     Max open files            1024                 524288               files     \n";
        assert_eq!(limit(table), Some(1024));
        assert_eq!(
            limit("Max open files            unlimited  unlimited  files\n"),
            None
        );
        assert_eq!(limit(""), None);
    }

    #[test]
    fn most_are_for_clients() {
        assert_eq!(reserved(1_024), 960);
        assert_eq!(reserved(256), 224);
        assert_eq!(reserved(1_048_576), 1_048_512);
    }

    #[test]
    fn it_counts_for_a_moment_that_there_was_none() {
        let descriptors = Descriptors::of_this_process();
        assert!(!descriptors.exhausted());
        descriptors.ran_out();
        assert!(descriptors.exhausted());
    }
}
