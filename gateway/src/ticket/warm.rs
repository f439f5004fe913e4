//! Bringing a ticket back into Redis from MongoDB, numbering those of the former server on the way.
//!
//! A ticket leaves Redis only once all of it is in MongoDB, so what MongoDB says is all there is. With it come
//! the ids of all its messages that a client named, so that a repeat is found however late it comes, without
//! asking MongoDB at every send.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use fred::types::Value;
use ticket_shared::{
    domain::Message,
    id::Id,
    stream::{Change, Entry, Last, NewMessage, Numbers, VERSION},
};

use super::{Tickets, view::Which};
use crate::{
    error::Error,
    store::{Edge, Stored},
};

/// How many messages the live log begins with.
const LOG: usize = 300;
/// Messages of the former server that one entry numbers.
const ADOPT: usize = 1_000;

/// Tickets that are being loaded: many who ask for the same one wait for one load.
#[derive(Default)]
pub(super) struct Loading(Mutex<HashMap<Id, Arc<tokio::sync::Mutex<()>>>>);

impl Loading {
    fn of(&self, id: Id) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, waiting| Arc::strong_count(waiting) > 1);
        Arc::clone(all.entry(id).or_default())
    }
}

/// What a ticket is put back with.
struct Warmth {
    state: Vec<(&'static str, String)>,
    log: Vec<Entry>,
    sent: Vec<(Id, u64)>,
    owed: Vec<Entry>,
}

impl Tickets {
    /// Puts a ticket into Redis, unless it is there.
    ///
    /// # Errors
    /// [`Error::TicketNotFound`]; or Redis or MongoDB can't be reached.
    pub(super) async fn warm(&self, id: Id) -> Result<(), Error> {
        let turn = self.0.loading.of(id);
        let _turn = turn.lock().await;
        if self.peek(id, super::view::Part::NONE).await?.is_some() {
            return Ok(());
        }
        let stored = self
            .0
            .store
            .ticket(id)
            .await?
            .ok_or(Error::TicketNotFound)?;
        let warmth = if stored.numbered {
            let messages = self
                .0
                .store
                .messages(id, (None, None), LOG, Edge::Newest, Which::Messages)
                .await?;
            let sent = self.0.store.client_ids(id).await?;
            numbered(id, stored, messages, sent)
        } else {
            adopted(id, stored, self.0.store.unnumbered(id, None).await?)
        };
        self.put(id, warmth).await
    }

    async fn put(&self, id: Id, warmth: Warmth) -> Result<(), Error> {
        let keys = &self.0.keys;
        let mut names = self.0.log_keys(id).to_vec();
        names.push(keys.rest(keys.partition(id)));
        let mut args: Vec<Value> = vec![
            id.to_string().into(),
            fresh_epoch()?.into(),
            self.0.hot_for.as_millis().to_string().into(),
        ];
        sections(&mut args, warmth.state, &warmth.log, warmth.sent)?;
        args.push(warmth.owed.len().to_string().into());
        for entry in &warmth.owed {
            args.push(serde_json::to_string(entry)?.into());
        }
        let done = self.0.warm.call(&self.0.redis, names, args).await?;
        tracing::debug!(ticket.id = %id, warmed = done.as_u64(), "ticket brought back into redis");
        Ok(())
    }
}

/// What both scripts take that put a ticket into Redis: state, log, ids of sent messages, each with its length.
pub(super) fn sections(
    args: &mut Vec<Value>,
    state: Vec<(&'static str, String)>,
    log: &[Entry],
    sent: Vec<(Id, u64)>,
) -> Result<(), Error> {
    args.push((state.len() * 2).to_string().into());
    for (field, value) in state {
        args.extend([field.into(), value.into()]);
    }
    args.push((log.len() * 3).to_string().into());
    for entry in log {
        let mark = if entry.internal() { "i" } else { "m" };
        args.extend([
            entry.seq.to_string().into(),
            mark.into(),
            serde_json::to_string(entry)?.into(),
        ]);
    }
    args.push((sent.len() * 2).to_string().into());
    for (message, seq) in sent {
        args.extend([message_field(message), seq.to_string().into()]);
    }
    Ok(())
}

/// The name of a message in the hash of sent ones: its 12 bytes.
pub(super) fn message_field(id: Id) -> Value {
    Value::Bytes(id.bytes().to_vec().into())
}

/// What a counter's epoch is called where Redis has none: Redis is new, or lost its data.
pub(super) fn fresh_epoch() -> Result<String, Error> {
    Ok(Id::fresh()?.to_string())
}

fn numbered(id: Id, stored: Stored, messages: Vec<Message>, sent: Vec<(Id, u64)>) -> Warmth {
    let Stored {
        base,
        head,
        mut numbers,
        ..
    } = stored;
    // The ticket's document may be older than its newest message where Redis lost what the worker still owed.
    if let Some(newest) = messages.last() {
        numbers.seq = numbers.seq.max(newest.seq);
    }
    if let Some(newest) = messages.iter().rev().find(|message| !message.internal) {
        numbers.public_seq = numbers.public_seq.max(newest.seq);
    }
    let floor = if messages.len() < LOG {
        0
    } else {
        messages[0].seq - 1
    };
    let seq = numbers.seq;
    let log = entries(id, &head, &numbers, messages);
    Warmth {
        state: state(&base, &head, &numbers, seq, floor, 0),
        log,
        sent,
        owed: Vec::new(),
    }
}

/// Numbers a ticket of the former server: its creation is 1, its messages follow by age.
fn adopted(id: Id, stored: Stored, messages: Vec<Message>) -> Warmth {
    let Stored {
        base,
        head,
        mut numbers,
        ..
    } = stored;
    let seq = messages.last().map_or(1, |message| message.seq);
    numbers.seq = seq;
    numbers.public_seq = seq;
    numbers.message_count = messages.len() as u64;
    numbers.last = messages.last().map(|message| Last {
        at: message.created_at.0,
        ..ticket_shared::stream::preview(&into_new(message.clone()))
    });
    let pairs: Vec<(Id, u64)> = messages
        .iter()
        .map(|message| (message.id, message.seq))
        .collect();
    let mut owed = Vec::new();
    let mut first = 1;
    let chunks: Vec<&[(Id, u64)]> = if pairs.is_empty() {
        vec![&[]]
    } else {
        pairs.chunks(ADOPT).collect()
    };
    for chunk in chunks {
        let last = chunk.last().map_or(1, |(_, seq)| *seq);
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
                messages: chunk.to_vec(),
            },
            head: head.clone(),
            last: numbers.last.clone(),
            from_status: None,
            from_agent: None,
            prev_public_at: None,
            base: None,
        });
        first = last + 1;
    }
    let skip = messages.len().saturating_sub(LOG);
    let floor = if skip == 0 { 0 } else { messages[skip].seq - 1 };
    let log = entries(
        id,
        &head,
        &numbers,
        messages.into_iter().skip(skip).collect(),
    );
    Warmth {
        state: state(&base, &head, &numbers, 0, floor, seq),
        log,
        sent: Vec::new(),
        owed,
    }
}

pub(super) fn state(
    base: &ticket_shared::stream::Base,
    head: &ticket_shared::stream::Head,
    numbers: &Numbers,
    persisted: u64,
    floor: u64,
    adopted: u64,
) -> Vec<(&'static str, String)> {
    let json = |value: serde_json::Result<String>| value.unwrap_or_default();
    let mut fields = vec![
        ("seq", numbers.seq.to_string()),
        ("pub", numbers.public_seq.to_string()),
        ("persisted", persisted.to_string()),
        ("floor", floor.to_string()),
        ("count", numbers.message_count.to_string()),
        ("updatedAt", numbers.updated_at.to_string()),
        ("pubAt", numbers.public_at.to_string()),
        ("head", json(serde_json::to_string(head))),
        ("base", json(serde_json::to_string(base))),
    ];
    if let Some(last) = &numbers.last {
        fields.push(("last", json(serde_json::to_string(last))));
    }
    if adopted > 0 {
        fields.push(("adopted", adopted.to_string()));
    }
    fields
}

pub(super) fn entries(
    id: Id,
    head: &ticket_shared::stream::Head,
    numbers: &Numbers,
    messages: Vec<Message>,
) -> Vec<Entry> {
    let mut prev_seq = messages.first().map_or(0, |message| message.seq - 1);
    messages
        .into_iter()
        .map(|message| {
            let (seq, at, internal) = (message.seq, message.created_at.0, message.internal);
            let entry = Entry {
                version: VERSION,
                ticket_id: id,
                seq,
                prev_seq,
                at,
                epoch: String::new(),
                message_count: numbers.message_count,
                change: Change::Message(into_new(message)),
                head: head.clone(),
                last: None,
                from_status: None,
                from_agent: None,
                prev_public_at: None,
                base: None,
            };
            if !internal {
                prev_seq = seq;
            }
            entry
        })
        .collect()
}

fn into_new(message: Message) -> NewMessage {
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
