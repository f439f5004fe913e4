//! Documents and what they mean: those of the worker, and those that the former server wrote.

use mongodb::bson::RawDocument;
use ticket_shared::{
    domain::{Message, Priority, Status, UserType, limits},
    id::Id,
    stream::{Base, Head, Last, Numbers},
    time::Time,
};

use super::{Stored, fields::Fields};

/// The field that a query adds to a ticket whose own `createdAt` could not order it.
pub(super) const LISTED_AT: &str = "_listedAt";

/// The id of a document; `None` for one that nobody could address.
pub(super) fn id(document: &RawDocument) -> Option<Id> {
    Fields(document).id("_id")
}

/// The ticket in a document.
pub(super) fn stored(id: Id, document: &RawDocument) -> Stored {
    let fields = Fields(document);
    let created_at = fields
        .time(LISTED_AT)
        .or_else(|| fields.time("createdAt"))
        .unwrap_or_else(|| time_of(id));
    // Zero is no place in a log.
    let seq = fields.number("seq").filter(|seq| *seq > 0);
    let updated_at = fields.time("updatedAt").unwrap_or(created_at);
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
            message_count: fields.number("messageCount").unwrap_or_default(),
            last: fields
                .within("lastMessage")
                .map(|last| self::last(last, created_at)),
            updated_at,
            public_seq: fields.number("publicSeq").unwrap_or_default(),
            public_at: fields.time("publicUpdatedAt").unwrap_or(updated_at),
        },
        numbered: seq.is_some(),
    }
}

/// The message in a document of this ticket; `None` for a document that nobody could address. Its number is
/// 0 where the former server wrote it and nothing has numbered it yet.
pub(super) fn message(ticket_id: Id, document: &RawDocument) -> Option<Message> {
    let fields = Fields(document);
    let id = id(document)?;
    Some(Message {
        id,
        ticket_id,
        seq: fields.number("seq").unwrap_or_default(),
        sender_id: fields.person("senderId").unwrap_or_default(),
        sender_type: side(fields),
        sender_name: fields.text("senderName").unwrap_or_default(),
        content: fields.text("content").unwrap_or_default(),
        internal: fields.flag("internal"),
        client_message_id: fields.text("clientMessageId"),
        created_at: Time(fields.time("createdAt").unwrap_or_else(|| time_of(id))),
    })
}

/// The ticket that a message belongs to.
pub(super) fn ticket_of(document: &RawDocument) -> Option<Id> {
    Fields(document).id("ticketId")
}

/// Numbers the messages of a ticket of the former server: by time, then id, from 2 on (1 is the ticket's
/// creation). Those that are numbered keep their number. Once numbering has begun, `upto` is the highest
/// number that it gives; what comes after that is the log, and no business of this.
pub(super) fn number(mut messages: Vec<Message>, upto: Option<u64>) -> Vec<Message> {
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
    let status = fields.text("status").and_then(|name| Status::parse(&name));
    let priority = fields
        .text("priority")
        .and_then(|name| Priority::parse(&name));
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
        .and_then(|name| UserType::parse(&name))
        .unwrap_or(UserType::User)
}

#[cfg(test)]
mod tests;
