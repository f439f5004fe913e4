//! Times from when something should have begun until it came, in a histogram of three digits.

use hdrhistogram::Histogram;

/// The longest time that is told apart, in microseconds; longer ones count as this.
const LONGEST: u64 = 120_000_000;

/// A histogram of microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds that the crate takes"))
    }

    /// Counts what should have begun at `at` and came at `now`, both in microseconds of one clock.
    pub(crate) fn record(&mut self, at: u64, now: u64) {
        self.0.saturating_record(now.saturating_sub(at).max(1));
    }

    /// The time in ms within which this part of them (0 to 1) came.
    #[expect(clippy::cast_precision_loss, reason = "microseconds below 2^53")]
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        self.0.value_at_quantile(part) as f64 / 1_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_milliseconds_and_within_a_thousandth() {
        let mut latency = Latency::new();
        for ms in 1..=1_000 {
            latency.record(5, 5 + ms * 1_000);
        }
        for (part, ms) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let found = latency.quantile(part);
            assert!(
                (found - ms).abs() <= ms / 1_000.0 + 0.001,
                "{part}: {found}"
            );
        }
        assert_eq!(latency.0.len(), 1_000);
    }

    #[test]
    fn what_a_stalled_server_kept_waiting_counts_from_when_it_was_due() {
        // One message each ms; the server stands still for the second half of two seconds.
        let mut latency = Latency::new();
        for due in (0..2_000).map(|ms| ms * 1_000) {
            let came = if due < 1_000_000 {
                due + 100
            } else {
                2_000_000
            };
            latency.record(due, came);
        }
        assert!(latency.quantile(0.25) < 0.2);
        assert!(
            (latency.quantile(0.75) - 500.0).abs() < 2.0,
            "{}",
            latency.quantile(0.75)
        );
    }

    #[test]
    fn times_beyond_the_bounds_count() {
        let mut latency = Latency::new();
        latency.record(10, 9);
        latency.record(0, LONGEST * 10);
        assert_eq!(latency.0.len(), 2);
        assert!(latency.quantile(1.0) >= 119_000.0);
    }
}
