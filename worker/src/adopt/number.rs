//! The entries of a log that number a ticket of another server: those that a gateway writes at its first touch.

use std::collections::HashMap;

use ticket_mongo::documents::Stored;
use ticket_shared::{
    domain::{Message, limits},
    id::Id,
    stream::{Change, Entry, Last, VERSION},
};

/// Messages that one entry numbers.
const CHUNK: usize = 1_000;

/// The entries for these messages, which are numbered and in order; `legacy` are the ids of another kind among theirs.
pub(super) fn entries(
    id: Id,
    stored: &Stored,
    messages: &[Message],
    legacy: &HashMap<Id, String>,
) -> Vec<Entry> {
    let public = || messages.iter().filter(|message| !message.internal);
    let newest = public().next_back().map_or(1, |message| message.seq);
    let last = public().next_back().map(|message| Last {
        content: message.content.chars().take(limits::PREVIEW).collect(),
        sender_name: message.sender_name.clone(),
        sender_type: message.sender_type,
        at: message.created_at.0,
    });
    let chunks: Vec<&[Message]> = if messages.is_empty() {
        vec![&[]]
    } else {
        messages.chunks(CHUNK).collect()
    };
    let mut first = 1;
    let mut entries = Vec::new();
    for chunk in chunks {
        let seq = chunk.last().map_or(1, |message| message.seq);
        let kept = chunk
            .iter()
            .filter_map(|message| Some((message.id, legacy.get(&message.id)?.clone())));
        entries.push(Entry {
            version: VERSION,
            ticket_id: id,
            seq,
            prev_seq: first - 1,
            at: stored.numbers.updated_at,
            epoch: String::new(),
            message_count: public().count() as u64,
            change: Change::Adopted {
                first,
                messages: chunk
                    .iter()
                    .map(|message| (message.id, message.seq))
                    .collect(),
                public: (newest != seq).then_some(newest.min(seq)),
                legacy_ids: kept.collect(),
            },
            head: stored.head.clone(),
            last: last.clone(),
            from_status: None,
            from_agent: None,
            prev_public_at: None,
            base: None,
        });
        first = seq + 1;
    }
    entries
}
