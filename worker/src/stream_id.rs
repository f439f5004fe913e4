//! The place of an entry in a Redis stream.

use std::fmt;

/// The id of an entry: the milliseconds of its arrival, and a number among those of the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct StreamId {
    pub(crate) ms: u64,
    pub(crate) seq: u64,
}

impl StreamId {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (ms, seq) = text.split_once('-')?;
        Some(Self {
            ms: ms.parse().ok()?,
            seq: seq.parse().ok()?,
        })
    }

    /// The lowest id above this one.
    pub(crate) fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => Some(Self {
                ms: self.ms.checked_add(1)?,
                seq: 0,
            }),
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Option<StreamId> {
        StreamId::parse(text)
    }

    #[test]
    fn ids_are_ordered_as_numbers() {
        assert!(id("10-0") > id("9-99"));
        assert_eq!(id("10-0").unwrap().to_string(), "10-0");
        assert_eq!(id("x"), None);
    }

    #[test]
    fn after_the_last_of_a_millisecond_comes_the_next_one() {
        assert_eq!(id("5-1").unwrap().next(), id("5-2"));
        let last = StreamId {
            ms: 5,
            seq: u64::MAX,
        };
        assert_eq!(last.next(), id("6-0"));
    }
}
