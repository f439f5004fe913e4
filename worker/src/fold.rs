//! What a batch of entries means for MongoDB: decided here, on values; performed by `store`.
//!
//! The writes of a batch may be performed in any order, any number of times, and beside those of other
//! batches of the same tickets, and the documents end up the same. What never changes is set
//! unconditionally; what changes is set by a ticket's newest entry alone, and only over an older one.

use std::collections::HashMap;

use mongodb::bson::{Bson, DateTime, Document, doc};
use ticket_mongo::{
    LOG_VERSION, MARK,
    form::{self, object_id},
};
use ticket_shared::{
    domain::{Agent, Message, Status},
    id::Id,
    stream::{Actor, Base, Change, Entry},
};

/// What an operation stands for, and so what is left undone where MongoDB refuses it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Its entry only.
    Entry,
    /// Its entry and every older one of the ticket in the batch.
    Ticket,
}

/// A document to be changed.
#[derive(Clone, PartialEq, Debug)]
pub struct Update {
    /// The entry that asks for it: its place in the slice that was folded.
    pub entry: usize,
    /// What it stands for.
    pub scope: Scope,
    /// Which document, and under what condition.
    pub filter: Document,
    /// The fields to set.
    pub set: Document,
    /// Other operators and their fields.
    pub more: Document,
    /// Whether to create it where it is not there.
    pub upsert: bool,
}

/// A document to be stored unless it is there already.
#[derive(Clone, PartialEq, Debug)]
pub struct Insert {
    /// The entry that asks for it: its place in the slice that was folded.
    pub entry: usize,
    /// The document, with its `_id`.
    pub document: Document,
}

/// A ticket that another server wrote and that gets a log.
#[derive(Clone, PartialEq, Debug)]
pub struct Adoption {
    /// The entry that says so: its place in the slice that was folded.
    pub entry: usize,
    /// The ticket.
    pub ticket: Id,
    /// The messages that the entry numbers.
    pub messages: Vec<Bson>,
    /// The fields that the entry sets: what it replaces with something else is kept.
    pub set: Document,
}

/// Everything that a batch writes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Writes {
    /// Tickets of another server, to be taken over before anything else is written.
    pub adopted: Vec<Adoption>,
    /// Changes in `tickets`.
    pub tickets: Vec<Update>,
    /// New documents in `messages`.
    pub messages: Vec<Insert>,
    /// Changes in `messages`: the former server's get their numbers.
    pub numbered: Vec<Update>,
    /// New documents in `events`.
    pub events: Vec<Insert>,
}

impl Writes {
    /// Adds what never changes of these tickets, with the first of `entries` of each.
    pub fn open(&mut self, entries: &[&Entry], bases: &HashMap<Id, Base>) {
        let mut bases: HashMap<Id, &Base> = bases.iter().map(|(id, base)| (*id, base)).collect();
        for (index, entry) in entries.iter().enumerate() {
            if let Some(base) = bases.remove(&entry.ticket_id) {
                self.tickets.push(opened(index, entry, base));
            }
        }
    }
}

/// Decides what `entries` write; the newest of a ticket speaks for all of them.
pub fn fold(entries: &[&Entry]) -> Writes {
    let mut newest: HashMap<Id, usize> = HashMap::new();
    for (index, &entry) in entries.iter().enumerate() {
        newest
            .entry(entry.ticket_id)
            .and_modify(|top| {
                if entries[*top].seq < entry.seq {
                    *top = index;
                }
            })
            .or_insert(index);
    }
    let mut newest: Vec<usize> = newest.into_values().collect();
    newest.sort_unstable();
    let mut writes = changes(entries);
    let states = newest
        .into_iter()
        .map(|index| state(index, entries[index], Scope::Ticket));
    writes.tickets.extend(states);
    writes
}

/// Decides what `entries` write where each speaks for itself: many more writes with the same result, and what
/// MongoDB refuses of them is refused all at once.
pub fn fold_apart(entries: &[&Entry]) -> Writes {
    let mut writes = changes(entries);
    let states = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| state(index, entry, Scope::Entry));
    writes.tickets.extend(states);
    writes
}

/// Everything but the tickets' states.
fn changes(entries: &[&Entry]) -> Writes {
    let mut writes = Writes::default();
    for (index, &entry) in entries.iter().enumerate() {
        match &entry.change {
            Change::Created { by } => {
                if let Some(base) = &entry.base {
                    writes.tickets.push(opened(index, entry, base));
                }
                let event = event(entry, by.as_ref(), Bson::Null, Bson::Null);
                writes.events.push(insert(index, event));
            }
            Change::Message(message) => {
                let message = message.clone().at(entry.ticket_id, entry.seq, entry.at);
                writes
                    .messages
                    .push(insert(index, message_document(message)));
            }
            Change::Status { to, by } => {
                let from = entry.from_status.map(Status::as_str).into();
                let event = event(entry, Some(by), from, to.as_str().into());
                writes.events.push(insert(index, event));
            }
            Change::Assigned { to, by } => {
                let (from, to) = (agent(entry.from_agent.as_ref()), agent(to.as_ref()));
                writes
                    .events
                    .push(insert(index, event(entry, Some(by), from, to)));
            }
            Change::Adopted {
                messages,
                legacy_ids,
                ..
            } => {
                let legacy_ids: HashMap<Id, &str> = legacy_ids
                    .iter()
                    .map(|(id, text)| (*id, text.as_str()))
                    .collect();
                let mut all = Vec::new();
                for &(message, seq) in messages {
                    let legacy_id = legacy_ids.get(&message).and_then(|text| form::decode(text));
                    let forms =
                        legacy_id.map_or_else(|| form::forms(message).collect(), |id| vec![id]);
                    writes
                        .numbered
                        .push(numbered(index, entry, forms.clone(), seq));
                    all.extend(forms);
                }
                writes.adopted.push(Adoption {
                    entry: index,
                    ticket: entry.ticket_id,
                    messages: all,
                    set: state(index, entry, Scope::Entry).set,
                });
                let event = event(entry, None, Bson::Null, Bson::Null);
                writes.events.push(insert(index, event));
            }
        }
    }
    writes
}

/// The name of a change in `events` and in metrics.
pub fn kind(change: &Change) -> &'static str {
    match change {
        Change::Created { .. } => "created",
        Change::Message(_) => "message",
        Change::Status { .. } => "status",
        Change::Assigned { .. } => "assigned",
        Change::Adopted { .. } => "adopted",
    }
}

/// What never changes of a ticket.
fn opened(index: usize, entry: &Entry, base: &Base) -> Update {
    let created_at = match base.created_at {
        0 => entry.at,
        at => at,
    };
    let mut set = doc! {
        "description": &base.description,
        "userId": base.user_id.clone(),
        "userName": base.user_name.clone(),
        "createdAt": DateTime::from_millis(created_at),
    };
    if let Some(fingerprint) = &base.fingerprint {
        set.insert("fingerprint", fingerprint);
    }
    Update {
        entry: index,
        scope: Scope::Entry,
        filter: doc! { "_id": object_id(entry.ticket_id) },
        set,
        more: Document::new(),
        upsert: true,
    }
}

/// What changes of a ticket, unless MongoDB has it from a newer entry.
fn state(index: usize, entry: &Entry, scope: Scope) -> Update {
    let head = &entry.head;
    let last = entry.last().map(|last| {
        doc! {
            "content": last.content,
            "senderName": last.sender_name,
            "senderType": last.sender_type.as_str(),
            "createdAt": DateTime::from_millis(last.at),
        }
    });
    Update {
        entry: index,
        scope,
        filter: doc! {
            "_id": object_id(entry.ticket_id),
            // Unlike `$lt`, this is true of a ticket that has no `seq` yet.
            "seq": { "$not": { "$gte": number(entry.seq) } },
        },
        set: doc! {
            "subject": &head.subject,
            "status": head.status.as_str(),
            "priority": head.priority.as_str(),
            "tags": head.tags(),
            "assignedAgent": agent(head.agent().as_ref()),
            "closedAt": head.closed_at().map(|at| DateTime::from_millis(at.0)),
            "seq": number(entry.seq),
            "publicSeq": number(entry.public_seq()),
            "messageCount": number(entry.message_count),
            "lastMessage": last,
            "updatedAt": DateTime::from_millis(entry.at),
            "publicUpdatedAt": DateTime::from_millis(entry.public_at()),
            MARK: LOG_VERSION,
        },
        more: Document::new(),
        upsert: true,
    }
}

/// The number of a message that another server wrote; it is given once.
fn numbered(index: usize, entry: &Entry, forms: Vec<Bson>, seq: u64) -> Update {
    Update {
        entry: index,
        scope: Scope::Entry,
        filter: doc! { "_id": { "$in": forms }, MARK: null },
        set: doc! {
            "seq": number(seq), "ticketId": object_id(entry.ticket_id), MARK: LOG_VERSION,
        },
        more: Document::new(),
        upsert: false,
    }
}

fn message_document(message: Message) -> Document {
    doc! {
        "_id": object_id(message.id),
        "ticketId": object_id(message.ticket_id),
        "seq": number(message.seq),
        "senderId": message.sender_id,
        "senderType": message.sender_type.as_str(),
        "senderName": message.sender_name,
        "content": message.content,
        "internal": message.internal,
        "clientMessageId": message.client_message_id,
        "createdAt": DateTime::from_millis(message.created_at.0),
        MARK: LOG_VERSION,
    }
}

/// A line of the audit trail.
fn event(entry: &Entry, by: Option<&Actor>, from: Bson, to: Bson) -> Document {
    doc! {
        "_id": format!("{}:{}", entry.ticket_id, entry.seq),
        "ticketId": object_id(entry.ticket_id),
        "seq": number(entry.seq),
        "kind": kind(&entry.change),
        "by": by.map(|by| doc! { "id": &by.id, "name": &by.name }),
        "from": from,
        "to": to,
        "at": DateTime::from_millis(entry.at),
    }
}

fn agent(agent: Option<&Agent>) -> Bson {
    agent
        .map(|agent| doc! { "agentId": &agent.agent_id, "agentName": &agent.agent_name })
        .into()
}

fn insert(entry: usize, document: Document) -> Insert {
    Insert { entry, document }
}

/// BSON has signed numbers only.
fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
