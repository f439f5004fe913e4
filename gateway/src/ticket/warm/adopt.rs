//! Numbering a ticket of the former server: its creation is 1, its messages follow by age.

use ticket_shared::{
    domain::Message,
    id::Id,
    stream::{Change, Entry, Last, VERSION},
};

use super::{
    Warmth,
    merge::{Frame, after, dense, into_new},
    salvage::Salvage,
    state,
};
use crate::store::{Stored, Unnumbered};

/// Messages of the former server that one entry numbers.
const CHUNK: usize = 1_000;

/// How many messages the live log begins with.
const LOG: usize = 300;

/// The places of those messages that are needed in full: what the live log begins with, and the newest that a customer may
/// see.
pub(super) fn needed(messages: &[Message]) -> Vec<usize> {
    let public = messages.iter().rposition(|message| !message.internal);
    let first = messages.len().saturating_sub(LOG);
    let before = public.into_iter().filter(|place| *place < first);
    before.chain(first..messages.len()).collect()
}

/// Puts a ticket together that MongoDB does not have with all its numbers; `messages` as they are numbered, and `upto`
/// the highest number, where that was given out before. Nothing where entries are missing.
pub(super) fn adopted(
    id: Id,
    salvage: Salvage,
    stored: Stored,
    Unnumbered { messages, legacy }: Unnumbered,
    upto: Option<u64>,
) -> Option<Warmth> {
    let Stored {
        base,
        mut head,
        mut numbers,
        ..
    } = stored;
    let last = messages.last().map_or(1, |message| message.seq);
    let adopted = upto.unwrap_or(last);
    numbers.seq = adopted;
    let public = || messages.iter().filter(|message| !message.internal);
    let newest = public().next_back().map_or(1, |message| message.seq);
    numbers.public_seq = newest;
    numbers.message_count = public().count() as u64;
    numbers.last = public().next_back().map(|message| Last {
        at: message.created_at.0,
        ..ticket_shared::stream::preview(&into_new(message.clone()))
    });
    let mut owed = Vec::new();
    let mut entry = |first, last, messages: Vec<(Id, u64)>| {
        let legacy_ids = messages
            .iter()
            .filter_map(|(id, _)| Some((*id, legacy.get(id)?.clone())))
            .collect();
        owed.push(Entry {
            version: VERSION,
            ticket_id: id,
            seq: last,
            prev_seq: first - 1,
            at: numbers.updated_at,
            epoch: String::new(),
            message_count: numbers.message_count,
            change: Change::Adopted {
                first,
                messages,
                public: (newest != last).then_some(newest.min(last)),
                legacy_ids,
            },
            head: head.clone(),
            last: numbers.last.clone(),
            from_status: None,
            from_agent: None,
            prev_public_at: None,
            base: None,
        });
    };
    let pairs: Vec<(Id, u64)> = messages
        .iter()
        .map(|message| (message.id, message.seq))
        .collect();
    let mut first = 1;
    let mut chunks = pairs.chunks(CHUNK).peekable();
    if chunks.peek().is_none() {
        entry(first, adopted, Vec::new());
    }
    while let Some(chunk) = chunks.next() {
        let last = match (chunk.last(), chunks.peek()) {
            (Some((_, seq)), Some(_)) => *seq,
            _ => adopted,
        };
        entry(first, last, chunk.to_vec());
        first = last + 1;
    }
    let skip = messages.len().saturating_sub(LOG);
    let floor = if skip == 0 { 0 } else { messages[skip].seq - 1 };
    // What has happened since.
    let mut kept = salvage.entries;
    kept.retain(|seq, kept| *seq > adopted && !kept.stored());
    if let Some(state) = salvage.state.filter(|state| state.numbers.seq > adopted) {
        head = state.head;
        numbers = state.numbers;
    } else if let Some((_, newest)) = kept.last_key_value() {
        head = newest.entry.head.clone();
        numbers = after(&newest.entry);
    }
    let sent = kept
        .values()
        .filter_map(|kept| Some((kept.entry.message()?.id, kept.entry.seq)))
        .collect();
    let frame = Frame {
        id,
        head: &head,
        count: numbers.message_count,
    };
    let messages = messages.into_iter().skip(skip).collect();
    let numbered = |seq| seq <= adopted;
    let log = dense((floor, numbers.seq), numbered, kept, messages, &frame)?;
    Some(Warmth {
        state: state(&base, &head, &numbers, 0, floor, adopted),
        seq: numbers.seq,
        log,
        sent,
        owed,
        ahead: Vec::new(),
        clean: false,
    })
}
