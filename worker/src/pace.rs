//! How much is read at once: more while there is a backlog, because a ticket costs one update in a batch, however
//! many of its entries are in it; never more than what memory and a stop have time for.

use std::time::Duration;

use crate::delivery::Delivery;

/// Bytes of entries in one batch, beyond which it does not grow. Two are in hand at most: one is written and the
/// next has been read.
const BYTES: usize = 16 * 1024 * 1024;

/// The size of the next read.
#[derive(Debug)]
pub(crate) struct Pace {
    count: usize,
    least: usize,
    most: usize,
    /// A batch that takes longer is too large, if it is larger than the least.
    patience: Duration,
    slow: bool,
}

impl Pace {
    /// Between `least` and `most` entries of each partition, and batches that take no longer than `patience`.
    pub(crate) fn new(least: u64, most: u64, patience: Duration) -> Self {
        let size = |count| usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            count: size(least),
            least: size(least),
            most: size(most.max(least)),
            patience,
            slow: false,
        }
    }

    /// How many entries of each partition to read.
    pub(crate) fn count(&self) -> u64 {
        self.count as u64
    }

    /// Looks at what a read of [`Pace::count`] has brought, and says whether there is more where it came from.
    pub(crate) fn read(&mut self, delivery: &Delivery) -> bool {
        let (fullest, partitions, bytes) = delivery.measure();
        let full = fullest >= self.count;
        let wanted = if full && !self.slow {
            self.count.saturating_mul(2)
        } else if self.slow || fullest < self.count / 2 {
            self.count / 2
        } else {
            self.count
        };
        let each = bytes / delivery.entries.len().max(1);
        let fits = BYTES / (each * partitions).max(1);
        self.count = wanted.min(fits).clamp(self.least, self.most);
        full
    }

    /// Notes how long a batch took.
    pub(crate) fn settled(&mut self, took: Duration) {
        self.slow = took > self.patience;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::delivery::Delivered;

    fn delivery(partitions: u16, each: usize, bytes: usize) -> Delivery {
        let value = Bytes::from(vec![b'x'; bytes]);
        let entry = |partition| Delivered {
            partition,
            id: "1-0".into(),
            fields: vec![(Bytes::from_static(b"d"), value.clone())],
        };
        Delivery {
            entries: (0..partitions)
                .flat_map(|partition| (0..each).map(move |_| partition))
                .map(entry)
                .collect(),
            lost: Vec::new(),
        }
    }

    fn pace() -> Pace {
        Pace::new(10, 80, Duration::from_secs(1))
    }

    #[test]
    fn full_reads_grow_to_the_cap_and_empty_ones_shrink_to_the_least() {
        let mut pace = pace();
        for expected in [20, 40, 80, 80] {
            let count = usize::try_from(pace.count()).unwrap();
            assert!(pace.read(&delivery(2, count, 1)));
            assert_eq!(pace.count(), expected);
        }
        for expected in [40, 20, 10, 10] {
            assert!(!pace.read(&Delivery::default()));
            assert_eq!(pace.count(), expected);
        }
    }

    #[test]
    fn large_entries_keep_batches_within_memory() {
        let mut pace = pace();
        let large = BYTES / 60;
        pace.read(&delivery(3, 10, large));
        assert_eq!(pace.count(), 19);
        pace.read(&delivery(3, 19, large * 4));
        assert_eq!(pace.count(), 10, "never below what is configured");
    }

    #[test]
    fn batches_that_take_too_long_get_smaller() {
        let mut pace = pace();
        pace.read(&delivery(1, 10, 1));
        pace.read(&delivery(1, 20, 1));
        pace.settled(Duration::from_secs(2));
        assert!(pace.read(&delivery(1, 40, 1)));
        assert_eq!(pace.count(), 20);
        pace.settled(Duration::from_millis(900));
        pace.read(&delivery(1, 20, 1));
        assert_eq!(pace.count(), 40);
    }
}
