//! How long to wait before trying again: longer each time, and never in step with other workers.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// The first wait, about.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait, unless another one is asked for.
const CAP: Duration = Duration::from_secs(5);

/// Counts failures in a row.
#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::up_to(CAP)
    }
}

impl Backoff {
    /// Waits no longer than `cap`.
    pub(crate) fn up_to(cap: Duration) -> Self {
        Self { failures: 0, cap }
    }

    /// How many failures there were in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits after one more failure. `false` where the process is stopping and trying again is pointless.
    pub(crate) async fn wait(&mut self, stopping: &CancellationToken) -> bool {
        let pause = pause(self.failures, self.cap, random());
        self.failures = self.failures.saturating_add(1);
        tokio::select! {
            () = stopping.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

/// Half of the pause is certain, half of it random.
fn pause(failures: u32, cap: Duration, random: u8) -> Duration {
    let full = FIRST.saturating_mul(1 << failures.min(10)).min(cap);
    full / 2 + full / 2 * u32::from(random) / 255
}

fn random() -> u8 {
    let mut byte = [128];
    // Without randomness the pause is merely predictable.
    let _ = getrandom::fill(&mut byte);
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap() {
        assert_eq!(pause(0, CAP, 0), FIRST / 2);
        assert_eq!(pause(0, CAP, 255), FIRST);
        assert_eq!(pause(2, CAP, 255), FIRST * 4);
        assert_eq!(pause(u32::MAX, CAP, 255), CAP);
        assert_eq!(pause(u32::MAX, FIRST, 255), FIRST);
    }

    #[tokio::test]
    async fn a_stop_ends_the_wait() {
        let stopping = CancellationToken::new();
        stopping.cancel();
        let mut backoff = Backoff {
            failures: 20,
            ..Backoff::default()
        };
        assert!(!backoff.wait(&stopping).await);
    }
}
