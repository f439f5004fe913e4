//! Documents and what they mean: those of the worker, and those that the former server wrote.

use mongodb::bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf};
use ticket_shared::{
    domain::{Message, UserType, limits},
    id::Id,
    stream::{Base, Head, Last, Numbers},
    time::Time,
};

use crate::{MARK, fields::Fields, form, words};

/// A ticket as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// What never changes.
    pub base: Base,
    /// What changes, but not with every message.
    pub head: Head,
    /// The fast-moving part; all zero where the ticket is not numbered.
    pub numbers: Numbers,
    /// Whether the ticket has a log. Documents of the former server have none before they are adopted.
    pub numbered: bool,
}

/// The field that a query adds to a ticket whose own `createdAt` could not order it.
pub const LISTED_AT: &str = "_listedAt";

/// The id of a document; `None` for one that nobody could address.
pub fn id(document: &RawDocument) -> Option<Id> {
    Fields(document).id("_id")
}

/// The one ticket in all documents of its id: that whose `_id` is an `ObjectId`, and from the others, whose `_id` is a
/// text, the fields that it lacks. The worker makes one document of them, but not in one step.
pub fn one(found: &[RawDocumentBuf]) -> Option<RawDocumentBuf> {
    let (own, texts): (Vec<_>, Vec<_>) = found
        .iter()
        .partition(|document| matches!(document.get("_id"), Ok(Some(RawBsonRef::ObjectId(_)))));
    let mut all = own.into_iter().chain(texts);
    let mut one = all.next()?.clone();
    for other in all {
        for (key, value) in other.iter().flatten() {
            if matches!(one.get(key), Ok(None)) {
                one.append(key, value);
            }
        }
    }
    Some(one)
}

/// The ticket in a document.
pub fn stored(id: Id, document: &RawDocument) -> Stored {
    let fields = Fields(document);
    let created_at = fields
        .time(LISTED_AT)
        .or_else(|| fields.time("createdAt"))
        .unwrap_or_else(|| time_of(id));
    let seq = number_of_ticket(fields);
    let numbered = seq.is_some();
    let updated_at = fields.time("updatedAt").unwrap_or(created_at);
    // Other servers have such fields too, and what is in theirs may be for agents only.
    let ours = |key| fields.number(key).filter(|_| numbered).unwrap_or_default();
    Stored {
        base: Base {
            description: fields.text("description").unwrap_or_default(),
            user_id: fields.person("userId"),
            user_name: fields.text("userName"),
            created_at,
            fingerprint: fields.text("fingerprint"),
        },
        head: head(fields),
        numbers: Numbers {
            seq: seq.unwrap_or_default(),
            message_count: ours("messageCount"),
            last: fields
                .within("lastMessage")
                .filter(|_| numbered)
                .map(|last| self::last(last, created_at)),
            updated_at,
            public_seq: ours("publicSeq"),
            public_at: fields
                .time("publicUpdatedAt")
                .filter(|_| numbered)
                .unwrap_or(updated_at),
        },
        numbered,
    }
}

/// If this product numbered the document.
pub fn is_marked(document: &RawDocument) -> bool {
    Fields(document).number(MARK).is_some_and(|mark| mark > 0)
}

/// If an earlier version of this product numbered the ticket, which set no mark yet. The two fields together are its
/// own. Its messages are shown once `ticket-worker adopt` has marked them.
pub fn is_of_earlier_version(document: &RawDocument) -> bool {
    let fields = Fields(document);
    !is_marked(document)
        && fields.number("publicSeq").is_some_and(|seq| seq > 0)
        && fields.value("publicUpdatedAt").is_some()
}

/// The number of the newest entry of a ticket that has a log. Zero is no place in one.
fn number_of_ticket(fields: Fields<'_>) -> Option<u64> {
    let ours = is_marked(fields.0) || is_of_earlier_version(fields.0);
    fields.number("seq").filter(|seq| ours && *seq > 0)
}

/// The message in a document of this ticket; `None` for one that its server deleted and kept. Its number is 0 where
/// another server wrote it and nothing has numbered it yet.
pub fn message(ticket_id: Id, document: &RawDocument) -> Option<Message> {
    let fields = Fields(document);
    let id = form::id_or_derived("messages", fields.value("_id")?)?;
    let numbered = is_marked(document);
    if !numbered && words::is_deleted(document) {
        return None;
    }
    Some(Message {
        id,
        ticket_id,
        seq: fields
            .number("seq")
            .filter(|_| numbered)
            .unwrap_or_default(),
        sender_id: fields.person("senderId").unwrap_or_default(),
        sender_type: side(fields),
        sender_name: fields.text("senderName").unwrap_or_default(),
        content: fields.text("content").unwrap_or_default(),
        internal: words::is_internal(document),
        client_message_id: fields.text("clientMessageId"),
        created_at: Time(fields.time("createdAt").unwrap_or_else(|| time_of(id))),
    })
}

/// The projection of a message to the fields by which it is numbered, and known to be internal or deleted.
pub fn numbering() -> Document {
    let own = ["ticketId", "seq", MARK, "createdAt"].into_iter();
    let marks = words::INTERNAL.into_iter().chain(words::PUBLIC);
    let marks = marks.chain(words::KINDS).chain(words::DELETED);
    own.chain(marks)
        .map(|field| (field.to_owned(), Bson::Int32(1)))
        .collect()
}

/// The id of a message and the `_id` that it is stored under, encoded, if that is of another kind.
pub fn legacy_id(document: &RawDocument) -> Option<(Id, String)> {
    let stored = Fields(document).value("_id")?;
    let id = form::id_or_derived("messages", stored)?;
    form::id(stored)
        .is_none()
        .then(|| (id, form::encode(stored)))
}

/// The ticket that a message belongs to.
pub fn ticket_of(document: &RawDocument) -> Option<Id> {
    Fields(document).id("ticketId")
}

/// Numbers the messages of a ticket of the former server: by time, then id, from 2 on (1 is the ticket's
/// creation). Those that are numbered keep their number. Once numbering has begun, `upto` is the highest
/// number that it gives; what comes after that is the log, and no business of this.
pub fn number(mut messages: Vec<Message>, upto: Option<u64>) -> Vec<Message> {
    let last = upto.unwrap_or(u64::MAX);
    messages.retain(|message| message.seq <= last);
    messages.sort_by_key(|message| (message.created_at, message.id));
    let taken: std::collections::HashSet<u64> =
        messages.iter().map(|message| message.seq).collect();
    let mut free = (2..).filter(|seq| !taken.contains(seq));
    for message in &mut messages {
        if message.seq == 0 {
            message.seq = free.next().unwrap_or(u64::MAX);
        }
    }
    // A straggler that the former server wrote after the numbering has no place in it.
    messages.retain(|message| message.seq <= last);
    messages.sort_by_key(|message| message.seq);
    messages
}

/// When an id was made, which is the best that is known of a document without a time.
fn time_of(id: Id) -> i64 {
    let [a, b, c, d, ..] = id.bytes();
    i64::from(u32::from_be_bytes([a, b, c, d])) * 1_000
}

fn head(fields: Fields<'_>) -> Head {
    let (agent_id, agent_name) = fields.agent("assignedAgent").unzip();
    let subject = fields.text("subject").or_else(|| fields.text("title"));
    let status = fields.text("status").and_then(|name| words::status(&name));
    let priority = fields
        .text("priority")
        .and_then(|name| words::priority(&name));
    Head {
        subject: subject.unwrap_or_default(),
        status: status.unwrap_or_default(),
        priority: priority.unwrap_or_default(),
        tags: serde_json::Value::from(fields.texts("tags")).to_string(),
        agent_id,
        agent_name,
        closed_at: fields.time("closedAt").map(|ms| ms.to_string()),
    }
}

fn last(fields: Fields<'_>, created_at: i64) -> Last {
    let content = fields.text("content").unwrap_or_default();
    Last {
        content: content.chars().take(limits::PREVIEW).collect(),
        sender_name: fields.text("senderName").unwrap_or_default(),
        sender_type: side(fields),
        at: fields.time("createdAt").unwrap_or(created_at),
    }
}

fn side(fields: Fields<'_>) -> UserType {
    fields
        .text("senderType")
        .and_then(|name| words::side(&name))
        .unwrap_or(UserType::User)
}

#[cfg(test)]
mod tests;
