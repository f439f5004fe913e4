//! What is to become of entries that vanished: decided here, on values.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde::Deserialize;
use ticket_shared::id::Id;

/// What entries say that were brought into the log from MongoDB. A quote within a value is escaped, so that it can't
/// stand in one.
const STORED: &[u8] = b"\"e\":\"\"";

/// Entries of a ticket that are neither persisted nor in the stream.
#[derive(Debug, Default)]
pub(super) struct Vanished {
    /// The watermark.
    pub(super) persisted: u64,
    /// They are above the watermark and up to here.
    pub(super) upto: u64,
    /// The highest number that a ticket of the former server was given.
    pub(super) adopted: u64,
    /// The ticket's newest number.
    pub(super) seq: u64,
    /// These are persisted all the same.
    pub(super) ahead: Vec<(u64, u64)>,
    /// Those that the log has.
    pub(super) frames: BTreeMap<u64, Bytes>,
}

/// What to do about them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// To be put back into the stream.
    pub(super) back: Vec<Bytes>,
    /// In MongoDB.
    pub(super) settled: Vec<(u64, u64)>,
    /// Not in the log.
    pub(super) absent: Vec<u64>,
}

impl Vanished {
    /// Whether MongoDB still lacks the numbers of the former server's messages.
    pub(super) fn numbering(&self) -> bool {
        self.adopted > self.persisted
    }

    /// Sorts them, at most so many that are put back or absent. The rest is for the next time.
    pub(super) fn plan(&self, parked: &HashSet<Bytes>, most: usize) -> Plan {
        let mut plan = Plan::default();
        let ahead = |seq: u64| self.ahead.iter().any(|(lo, hi)| (*lo..=*hi).contains(&seq));
        for seq in (self.persisted + 1..=self.upto).filter(|seq| !ahead(*seq)) {
            if plan.back.len() + plan.absent.len() >= most {
                break;
            }
            match self.frames.get(&seq).filter(|frame| !frame.is_empty()) {
                None => plan.absent.push(seq),
                Some(frame) if is_stored(frame) => plan.settled.push((seq, seq)),
                // An operator decides on it.
                Some(frame) if parked.contains(frame) => {}
                Some(frame) => plan.back.push(frame.clone()),
            }
        }
        plan
    }
}

/// Those of `frames` that may not be in MongoDB.
pub(super) fn unstored(frames: Vec<Bytes>, parked: &HashSet<Bytes>) -> Vec<Bytes> {
    let mut frames = frames;
    frames.retain(|frame| !is_stored(frame) && !parked.contains(frame));
    frames
}

/// The numbers of those parked entries that are a ticket's.
pub(super) fn numbers_of(ticket: Id, parked: &HashSet<Bytes>) -> HashSet<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        t: String,
        s: u64,
    }
    let (ticket, parked) = (ticket.to_string(), parked.iter());
    let numbered = parked.filter_map(|frame| serde_json::from_slice::<Numbered>(frame).ok());
    let own = numbered.filter(|entry| entry.t == ticket);
    own.map(|entry| entry.s).collect()
}

fn is_stored(frame: &Bytes) -> bool {
    frame.windows(STORED.len()).any(|part| part == STORED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_put_back_or_settled_or_looked_for() {
        let frame = |text: &'static str| Bytes::from_static(text.as_bytes());
        let vanished = Vanished {
            persisted: 1,
            upto: 8,
            seq: 9,
            ahead: vec![(3, 4)],
            frames: [
                (2, frame(r#"{"s":2,"e":"x"}"#)),
                (5, frame(r#"{"s":5,"e":""}"#)),
                (6, frame(r#"{"s":6,"e":"x"}"#)),
                (7, frame("")),
            ]
            .into(),
            ..Vanished::default()
        };
        let parked = HashSet::from([frame(r#"{"s":6,"e":"x"}"#)]);
        let plan = vanished.plan(&parked, 10);
        assert_eq!(plan.back, [frame(r#"{"s":2,"e":"x"}"#)]);
        assert_eq!(plan.settled, [(5, 5)]);
        assert_eq!(plan.absent, [7, 8]);
        let first = vanished.plan(&parked, 2);
        assert_eq!((first.back.len(), first.absent), (1, vec![7]));
    }
}
