//! What an adoption did, or would do.

use std::{collections::BTreeMap, io::Write};

/// Counts, by what they are of.
#[derive(Debug, Default)]
pub(super) struct Report(BTreeMap<&'static str, u64>);

/// What is counted, in the order in which it is shown.
pub(super) const TICKETS: &str = "tickets seen";
pub(super) const NUMBERED: &str = "tickets numbered";
pub(super) const READY: &str = "tickets that were numbered before";
pub(super) const MARKED: &str = "tickets of an earlier version, marked";
pub(super) const CHANGED: &str = "tickets put into our words";
pub(super) const RENAMED: &str = "tickets with an id of another kind, given an ObjectId";
pub(super) const IN_USE: &str = "tickets in use, left to the product; run it again later";
pub(super) const MESSAGES: &str = "messages seen";
pub(super) const TRANSLATED: &str = "messages put into our words";
pub(super) const EMBEDDED: &str = "messages taken out of tickets";
pub(super) const GIVEN: &str = "messages numbered";
pub(super) const LATE: &str = "messages of tickets that were in use before that came too late for a number, left where they are";
pub(super) const HOMELESS: &str = "messages that name no ticket, left as they are";
pub(super) const REFUSED: &str = "documents that MongoDB refused, left as they are";
const ORDER: [&str; 14] = [
    TICKETS, NUMBERED, READY, MARKED, CHANGED, RENAMED, IN_USE, MESSAGES, TRANSLATED, EMBEDDED,
    GIVEN, LATE, HOMELESS, REFUSED,
];

impl Report {
    pub(super) fn add(&mut self, what: &'static str, count: usize) {
        *self.0.entry(what).or_default() += count as u64;
    }

    pub(super) fn write(&self, dry: bool, out: &mut impl Write) -> std::io::Result<()> {
        if dry {
            writeln!(out, "nothing was changed; a run would do this:")?;
        }
        for what in ORDER {
            let count = self.0.get(what).copied().unwrap_or(0);
            writeln!(out, "{count:>12}  {what}")?;
        }
        Ok(())
    }
}
