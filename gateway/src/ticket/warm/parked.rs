//! Entries of a ticket that are parked: an operator decides on them, so their numbers stay theirs also where the ticket's
//! keys have gone.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Deserialize;
use ticket_shared::stream::Change;

use super::salvage::Kept;

/// The parked entries of a ticket.
#[derive(Debug, Default)]
pub(super) struct ParkedEntries {
    /// Those that this version can read.
    pub(super) readable: Vec<Kept>,
    /// The numbers of the others.
    pub(super) unreadable: BTreeSet<u64>,
}

/// The part of an entry that every version writes.
#[derive(Deserialize)]
struct Numbered {
    s: u64,
}

impl ParkedEntries {
    /// Adds an entry as it is parked. One without a number has none that could be given again.
    pub(super) fn add(&mut self, frame: Bytes) {
        let number = serde_json::from_slice(&frame).map(|Numbered { s }| s);
        match (Kept::read(frame), number) {
            // The numbers of a former server's messages are the same ones when they are given anew.
            (Ok(kept), _) if matches!(kept.entry.change, Change::Adopted { .. }) => {}
            (Ok(kept), _) => self.readable.push(kept),
            (Err(_), Ok(number)) => {
                self.unreadable.insert(number);
            }
            (Err(_), Err(_)) => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.readable.is_empty() && self.unreadable.is_empty()
    }
}
