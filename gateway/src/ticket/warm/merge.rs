//! A ticket put together from what MongoDB and Redis have of it: decided here, on values.
//!
//! What must hold: no number that was given out is given again; every number above the floor has its entry in the log;
//! and what cannot be had is not passed over in silence.

use std::collections::{BTreeMap, HashMap, HashSet};

use ticket_shared::{
    domain::Message,
    id::Id,
    stream::{Base, Change, Entry, Head, NewMessage, Numbers, VERSION},
};

use super::salvage::{Kept, Salvage};
use crate::store::Stored;

/// How many numbers the log reaches back where all of them are in MongoDB.
const LOG: u64 = 300;

/// An entry of the log to be.
#[derive(Debug)]
pub(super) enum Line {
    /// As Redis had it.
    Kept(Box<Kept>),
    /// As MongoDB has it.
    Stored(Box<Entry>),
}

impl Line {
    /// Its number.
    pub(super) fn entry(&self) -> &Entry {
        match self {
            Self::Kept(kept) => &kept.entry,
            Self::Stored(entry) => entry,
        }
    }

    fn is_stored(&self) -> bool {
        match self {
            Self::Kept(kept) => kept.stored(),
            Self::Stored(_) => true,
        }
    }
}

/// A ticket that is whole.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) base: Base,
    pub(super) head: Head,
    pub(super) numbers: Numbers,
    pub(super) persisted: u64,
    pub(super) floor: u64,
    pub(super) log: Vec<Line>,
    pub(super) sent: HashMap<Id, u64>,
    /// What is in MongoDB above `persisted`.
    pub(super) ahead: Vec<(u64, u64)>,
}

/// From where on the messages in MongoDB are needed.
pub(super) fn lowest(salvage: &Salvage, stored: Option<&Stored>) -> u64 {
    let newest = salvage.newest(stored);
    salvage.persisted(newest).min(newest.saturating_sub(LOG))
}

/// The numbers that were given out, above what is known to be in MongoDB, of which neither the log has the entry nor MongoDB
/// a message. Changes have a line in its audit trail.
pub(super) fn open(salvage: &Salvage, stored: Option<&Stored>, messages: &[Message]) -> Vec<u64> {
    let there: HashSet<u64> = messages.iter().map(|message| message.seq).collect();
    let known = salvage.newest(stored);
    let newest = messages.last().map_or(known, |last| last.seq.max(known));
    let given = salvage.persisted(newest) + 1..=salvage.newest(None);
    given
        .filter(|seq| !salvage.entries.contains_key(seq) && !there.contains(seq))
        .filter(|seq| !salvage.parked.unreadable.contains(seq))
        .collect()
}

/// Puts a numbered ticket together. `messages` are those in MongoDB above [`lowest`], `sent` all that a client gave an
/// id, `audited` the numbers in its audit trail, of those that are [`open`]. Nothing where entries are missing.
pub(super) fn merge(
    id: Id,
    salvage: Salvage,
    stored: Option<&Stored>,
    messages: Vec<Message>,
    sent: Vec<(Id, u64)>,
    audited: &HashSet<u64>,
) -> Option<Whole> {
    let known = salvage.newest(stored);
    // The ticket's document may be older than its newest message.
    let newest = messages.last().map_or(known, |last| last.seq.max(known));
    let persisted = salvage.persisted(newest);
    let (base, head, numbers) = latest(&salvage, stored, &messages, newest)?;
    // Of two messages of one number the log can hold one. Where both are in MongoDB they are read from there.
    let doubled = messages.windows(2).filter(|two| two[0].seq == two[1].seq);
    let doubled = doubled
        .map(|two| two[0].seq)
        .filter(|seq| *seq <= persisted);
    let floor = persisted
        .min(newest.saturating_sub(LOG))
        .max(doubled.max().unwrap_or(0));
    // What MongoDB has above the numbers that Redis knows is all that there is of it.
    let given = salvage.newest(None);
    let unreadable = salvage.parked.unreadable;
    let in_mongo = |seq| {
        seq <= persisted || seq > given || audited.contains(&seq) || unreadable.contains(&seq)
    };
    let mut all: HashMap<Id, u64> = salvage
        .entries
        .values()
        .filter_map(|kept| Some((kept.entry.message()?.id, kept.entry.seq)))
        .collect();
    all.extend(sent);
    let log = dense(
        (floor, newest),
        in_mongo,
        salvage.entries,
        messages,
        &Frame {
            id,
            head: &head,
            count: numbers.message_count,
        },
    )?;
    let (persisted, ahead) = above(persisted, &log);
    Some(Whole {
        base,
        head,
        numbers,
        persisted,
        floor,
        log,
        sent: all,
        ahead,
    })
}

/// The ticket's parts as of its newest entry.
fn latest(
    salvage: &Salvage,
    stored: Option<&Stored>,
    messages: &[Message],
    newest: u64,
) -> Option<(Base, Head, Numbers)> {
    let of_entry = || {
        let mut entries = salvage.entries.values().rev();
        entries.find_map(|kept| kept.entry.base.clone())
    };
    let base = salvage
        .state
        .as_ref()
        .map(|state| state.base.clone())
        .or_else(of_entry)
        .or_else(|| stored.map(|stored| stored.base.clone()))?;
    if let Some(state) = &salvage.state
        && state.numbers.seq == newest
    {
        return Some((base, state.head.clone(), state.numbers.clone()));
    }
    if let Some(kept) = salvage.entries.get(&newest)
        && !kept.stored()
    {
        return Some((base, kept.entry.head.clone(), after(&kept.entry)));
    }
    let stored = stored?;
    let mut numbers = stored.numbers.clone();
    if let Some(state) = &salvage.state {
        numbers.updated_at = numbers.updated_at.max(state.numbers.updated_at);
    }
    for message in messages {
        numbers.seq = numbers.seq.max(message.seq);
        if !message.internal {
            numbers.public_seq = numbers.public_seq.max(message.seq);
        }
    }
    numbers.seq = newest;
    Some((base, stored.head.clone(), numbers))
}

/// The counters after an entry.
pub(super) fn after(entry: &Entry) -> Numbers {
    Numbers {
        seq: entry.seq,
        public_seq: entry.public_seq(),
        message_count: entry.message_count,
        last: entry.last(),
        updated_at: entry.at,
        public_at: entry.public_at(),
    }
}

/// What entries from MongoDB say of their ticket.
pub(super) struct Frame<'a> {
    pub(super) id: Id,
    pub(super) head: &'a Head,
    pub(super) count: u64,
}

/// An entry for each number above the floor and up to the newest: Redis' own, else the message that MongoDB has, else,
/// where MongoDB has it in its audit trail, one that says nothing. Nothing where one is missing.
pub(super) fn dense(
    (floor, newest): (u64, u64),
    in_mongo: impl Fn(u64) -> bool,
    mut kept: BTreeMap<u64, Kept>,
    messages: Vec<Message>,
    frame: &Frame<'_>,
) -> Option<Vec<Line>> {
    let mut messages: HashMap<u64, Message> = messages
        .into_iter()
        .map(|message| (message.seq, message))
        .collect();
    let mut prev_seq = floor;
    let mut log = Vec::new();
    for seq in floor + 1..=newest {
        let line = match (kept.remove(&seq), messages.remove(&seq)) {
            (Some(kept), _) => Line::Kept(Box::new(kept)),
            (None, Some(message)) => {
                let at = message.created_at.0;
                let change = Change::Message(into_new(message));
                Line::Stored(Box::new(frame.entry(seq, prev_seq, at, change)))
            }
            (None, None) if in_mongo(seq) => {
                // A change that is in MongoDB's audit trail only. As one that numbers nothing it says nothing.
                let nothing = Change::Adopted {
                    first: seq,
                    messages: Vec::new(),
                    public: None,
                    legacy_ids: Vec::new(),
                };
                Line::Stored(Box::new(frame.entry(seq, prev_seq, 0, nothing)))
            }
            (None, None) => return None,
        };
        if !line.entry().internal() {
            prev_seq = seq;
        }
        log.push(line);
    }
    Some(log)
}

impl Frame<'_> {
    fn entry(&self, seq: u64, prev_seq: u64, at: i64, change: Change) -> Entry {
        Entry {
            version: VERSION,
            ticket_id: self.id,
            seq,
            prev_seq,
            at,
            epoch: String::new(),
            message_count: self.count,
            change,
            head: self.head.clone(),
            last: None,
            from_status: None,
            from_agent: None,
            prev_public_at: None,
            base: None,
        }
    }
}

pub(super) fn into_new(message: Message) -> NewMessage {
    NewMessage {
        id: message.id,
        sender_id: message.sender_id,
        sender_type: message.sender_type,
        sender_name: message.sender_name,
        content: message.content,
        internal: message.internal,
        client_message_id: message.client_message_id,
    }
}

/// Raises the watermark over what came from MongoDB, and says what did above it.
fn above(persisted: u64, log: &[Line]) -> (u64, Vec<(u64, u64)>) {
    let mut watermark = persisted;
    let mut ahead: Vec<(u64, u64)> = Vec::new();
    let lines = log
        .iter()
        .filter(|line| line.is_stored())
        .map(|line| line.entry().seq)
        .filter(|seq| *seq > persisted);
    for seq in lines {
        if seq == watermark + 1 && ahead.is_empty() {
            watermark = seq;
        } else if let Some(last) = ahead.last_mut().filter(|last| last.1 + 1 == seq) {
            last.1 = seq;
        } else {
            ahead.push((seq, seq));
        }
    }
    (watermark, ahead)
}

#[cfg(test)]
mod tests;
