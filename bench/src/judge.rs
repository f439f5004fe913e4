//! Whether a run kept the promises: a pure function over its history.
//!
//! What MongoDB holds at the end is the truth that acknowledgements, readers and REST are held against; what
//! it lacks of what was acknowledged is lost.

use std::collections::{BTreeMap, HashMap, HashSet};

use ticket_shared::{domain::UserType, id::Id};

use crate::history::{Heard, History, Key, Stored, Ticket, What};

mod readers;
mod rest;
mod senders;
#[cfg(test)]
mod tests;

/// What can be wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Fault {
    /// Acknowledged, and missing in MongoDB, in a gateway's REST or in a reader's final view.
    Lost,
    /// One `clientMessageId`, and two documents, numbers or deliveries.
    Doubled,
    /// Somebody disagrees with the order of `seq`, or a sender's own order is broken.
    Reordered,
    /// A number of a ticket stands for two things in one epoch.
    Twice,
    /// A reader's final view lacks something and the reader does not know it.
    Unnoticed,
    /// A join said that it recovered everything, and did not.
    Partial,
    /// A count or a list disagrees with what is stored.
    Stale,
    /// The same event reached a client twice.
    Repeated,
    /// A reader has something that is not stored.
    Phantom,
    /// A number stands for nothing.
    Hole,
    /// Never acknowledged, however often it was sent.
    Unacked,
}

impl Fault {
    /// Its name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Reordered => "out of order",
            Self::Twice => "seq given twice in an epoch",
            Self::Unnoticed => "gaps unnoticed",
            Self::Partial => "silent partial recoveries",
            Self::Stale => "stale counts or lists",
            Self::Repeated => "delivered twice",
            Self::Phantom => "read but not stored",
            Self::Hole => "numbers without an entry",
            Self::Unacked => "never acknowledged",
        }
    }
}

/// How many cases of each fault are told in words.
const EXAMPLES: usize = 4;

/// What the judge found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Verdict {
    counts: BTreeMap<Fault, u64>,
    /// The first cases of each.
    pub examples: Vec<(Fault, String)>,
    lost: HashSet<Id>,
}

impl Verdict {
    /// How often it happened.
    pub(crate) fn count(&self, fault: Fault) -> u64 {
        self.counts.get(&fault).copied().unwrap_or(0)
    }

    /// Everything that happened.
    pub(crate) fn faults(&self) -> impl Iterator<Item = (Fault, u64)> {
        self.counts.iter().map(|(fault, count)| (*fault, *count))
    }

    fn found(&mut self, fault: Fault, words: impl FnOnce() -> String) {
        let count = self.counts.entry(fault).or_default();
        *count += 1;
        if *count <= EXAMPLES as u64 {
            self.examples.push((fault, words()));
        }
    }

    /// Counts a message as lost, once, wherever it is missing.
    fn lost(&mut self, id: Id, words: impl FnOnce() -> String) {
        if self.lost.insert(id) {
            self.found(Fault::Lost, words);
        }
    }
}

/// What is stored, arranged for looking things up.
struct Truth<'a> {
    tickets: &'a [Stored],
    messages: Vec<HashMap<u64, Heard>>,
    /// Every message that was acknowledged.
    acked: HashMap<Id, Key>,
}

impl<'a> Truth<'a> {
    fn of(history: &'a History) -> Self {
        let by_seq = |stored: &Stored| stored.messages.iter().map(|m| (m.seq, *m)).collect();
        let records = history.clients.iter().flat_map(|client| &client.records);
        let acked = records.filter_map(|record| match &record.what {
            What::Acked(acked) => Some((acked.id, acked.key)),
            _ => None,
        });
        Self {
            tickets: &history.stored,
            messages: history.stored.iter().map(by_seq).collect(),
            acked: acked.collect(),
        }
    }

    /// Whose place that is.
    fn at(&self, ticket: Ticket, seq: u64) -> Option<&Heard> {
        self.messages.get(ticket as usize)?.get(&seq)
    }

    /// What one side may see of a ticket, in order.
    fn visible(&self, ticket: Ticket, side: UserType) -> impl Iterator<Item = &'a Heard> {
        let messages = self.tickets.get(ticket as usize).map(|t| &t.messages);
        messages
            .into_iter()
            .flatten()
            .filter(move |message| side == UserType::Agent || !message.internal)
    }

    /// The newest number that one side may see.
    fn head(&self, ticket: Ticket, side: UserType) -> u64 {
        let changes = self.tickets.get(ticket as usize).map(|t| &t.changes);
        let change = changes.into_iter().flatten().copied().max();
        let message = self.visible(ticket, side).map(|message| message.seq).max();
        change.max(message).unwrap_or(0)
    }
}

/// Holds a run against the promises.
pub(crate) fn judge(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    let truth = Truth::of(history);
    for (ticket, stored) in (0..).zip(&history.stored) {
        documents(ticket, stored, &mut verdict);
    }
    senders::judge(history, &truth, &mut verdict);
    readers::judge(history, &truth, &mut verdict);
    rest::judge(history, &truth, &mut verdict);
    verdict
}

/// Whether a ticket's documents fit each other.
fn documents(ticket: Ticket, stored: &Stored, verdict: &mut Verdict) {
    let mut keys: HashMap<Key, Id> = HashMap::new();
    let mut numbers: BTreeMap<u64, u32> = BTreeMap::new();
    for message in &stored.messages {
        if let Some(key) = message.key
            && keys.insert(key, message.id).is_some()
        {
            verdict.found(Fault::Doubled, || {
                format!("ticket {ticket}: two documents of {key}")
            });
        }
        *numbers.entry(message.seq).or_default() += 1;
    }
    for seq in &stored.changes {
        *numbers.entry(*seq).or_default() += 1;
    }
    let Some(facts) = stored.facts else {
        verdict.found(Fault::Hole, || format!("ticket {ticket}: no document"));
        return;
    };
    for (seq, count) in &numbers {
        if *count > 1 {
            verdict.found(Fault::Twice, || {
                format!("ticket {ticket}: {count} documents with seq {seq}")
            });
        }
    }
    for seq in 1..=facts.seq {
        if !numbers.contains_key(&seq) {
            verdict.found(Fault::Hole, || {
                format!(
                    "ticket {ticket}: nothing stored at seq {seq} of {}",
                    facts.seq
                )
            });
        }
    }
    let public = stored.messages.iter().filter(|m| !m.internal).count() as u64;
    let newest = numbers.keys().next_back().copied().unwrap_or(0);
    if facts.messages != public || facts.seq != newest {
        verdict.found(Fault::Stale, || {
            format!(
                "ticket {ticket}: says {} messages and seq {}, has {public} and {newest}",
                facts.messages, facts.seq
            )
        });
    }
}
