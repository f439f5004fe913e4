//! The entries of a ticket's log, and the names of the Redis keys that hold it.
//!
//! One entry is one JSON text, and the same bytes stand in three places: in the partition's stream (for the
//! worker), in the ticket's live log (for resume and reads), and on the ticket's channel (for the gateways
//! that follow it). The append script glues it together from parts that are JSON already, so nothing is
//! encoded twice.
//!
//! Every entry carries the ticket's whole mutable state after it ([`Head`], count, last message). So a newer
//! entry supersedes every older one, and applying entries in any order, any number of times, ends in the
//! same stored ticket. What never changes ([`Base`]) travels with the creation and the rare changes.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{Agent, LastMessage, Message, Person, Priority, Status, Ticket, UserType},
    id::Id,
    time::Time,
};

mod keys;

pub use keys::Keys;

/// The entry format that this code writes. A reader parks entries of a higher one.
pub const VERSION: u8 = 1;

/// The name of the one field of a stream entry.
pub const FIELD: &str = "d";

/// The consumer group of the workers.
pub const GROUP: &str = "persist";

/// What is set once, when the ticket is opened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Base {
    /// The customer's own words.
    pub description: String,
    /// Whose ticket it is.
    pub user_id: Option<String>,
    /// That person's name.
    pub user_name: Option<String>,
    /// When it was opened, in ms since 1970; 0 in a creation that has not been appended yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub created_at: i64,
    /// What the creating request said, hashed: a reused `Idempotency-Key` with another body is seen by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// What changes, but not with every message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// What it is about.
    pub subject: String,
    /// Where it stands.
    pub status: Status,
    /// How much it presses.
    pub priority: Priority,
    /// Labels, as a JSON text: the script's JSON library can't tell an empty list from an empty map.
    pub tags: String,
    /// Who works on it; both or neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The name of who works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<String>,
    /// When it was closed, in ms since 1970 as text (the script's numbers are floats).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<String>,
}

impl Head {
    /// Who works on it.
    pub fn agent(&self) -> Option<Agent> {
        let agent_id = self.agent_id.clone()?;
        Some(Agent {
            agent_name: self.agent_name.clone().unwrap_or_default(),
            agent_id,
        })
    }

    /// The labels.
    pub fn tags(&self) -> Vec<String> {
        serde_json::from_str(&self.tags).unwrap_or_default()
    }

    /// When it was closed.
    pub fn closed_at(&self) -> Option<Time> {
        self.closed_at
            .as_deref()
            .and_then(|ms| ms.parse().ok())
            .map(Time)
    }
}

/// The preview of the newest public message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Last {
    /// The beginning of the text.
    pub content: String,
    /// Who wrote it.
    pub sender_name: String,
    /// On which side.
    pub sender_type: UserType,
    /// When, in ms since 1970; the script adds it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub at: i64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl From<Last> for LastMessage {
    fn from(last: Last) -> Self {
        Self {
            content: last.content,
            sender_name: last.sender_name,
            sender_type: last.sender_type,
            created_at: Time(last.at),
        }
    }
}

/// Who changed something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// The person's id.
    pub id: String,
    /// The name to show.
    pub name: String,
}

/// A message, less what the log gives it (ticket, `seq`, time).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewMessage {
    /// Its id.
    pub id: Id,
    /// Who wrote it.
    pub sender_id: String,
    /// On which side.
    pub sender_type: UserType,
    /// The writer's name.
    pub sender_name: String,
    /// The text.
    pub content: String,
    /// For agents only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
    /// The sending client's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
}

impl NewMessage {
    /// The message at its place in the log.
    pub fn at(self, ticket_id: Id, seq: u64, at: i64) -> Message {
        Message {
            id: self.id,
            ticket_id,
            seq,
            sender_id: self.sender_id,
            sender_type: self.sender_type,
            sender_name: self.sender_name,
            content: self.content,
            internal: self.internal,
            client_message_id: self.client_message_id,
            created_at: Time(at),
        }
    }
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The ticket was opened. Its [`Base`] stands in the entry.
    Created {
        /// By whom, where that is known.
        by: Option<Actor>,
    },
    /// Somebody wrote.
    Message(NewMessage),
    /// The status was set.
    Status {
        /// To what.
        to: Status,
        /// By whom.
        by: Actor,
    },
    /// It was given to somebody, or taken from everybody.
    Assigned {
        /// To whom.
        to: Option<Agent>,
        /// By whom.
        by: Actor,
    },
    /// A ticket of the former server, whose documents have no `seq`, was numbered. One entry covers the
    /// numbers `first` to its own `seq`; number 1 is the ticket's creation.
    Adopted {
        /// The first number that this entry covers.
        first: u64,
        /// The messages and their numbers.
        messages: Vec<(Id, u64)>,
    },
}

/// One entry of a ticket's log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The format, [`VERSION`].
    #[serde(rename = "v")]
    pub version: u8,
    /// Whose log.
    #[serde(rename = "t")]
    pub ticket_id: Id,
    /// The place in it: dense, from 1.
    #[serde(rename = "s")]
    pub seq: u64,
    /// The `seq` of the entry before this one that a user may see; 0 before the first.
    #[serde(rename = "p")]
    pub prev_seq: u64,
    /// When it was accepted, in ms since 1970, by Redis' clock.
    #[serde(rename = "a")]
    pub at: i64,
    /// The epoch of the counter.
    #[serde(rename = "e")]
    pub epoch: String,
    /// Public messages in the ticket, after this entry.
    #[serde(rename = "n")]
    pub message_count: u64,
    /// What happened.
    #[serde(rename = "c")]
    pub change: Change,
    /// The mutable state after it.
    #[serde(rename = "h")]
    pub head: Head,
    /// The newest public message after it; left out by a public message, which is that itself.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Last>,
    /// The status before, of a [`Change::Status`].
    #[serde(rename = "fs", default, skip_serializing_if = "Option::is_none")]
    pub from_status: Option<Status>,
    /// The agent before, of a [`Change::Assigned`].
    #[serde(rename = "fa", default, skip_serializing_if = "Option::is_none")]
    pub from_agent: Option<Agent>,
    /// What never changes; in every entry but messages and adoptions.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
}

impl Entry {
    /// Reads an entry from its JSON text.
    ///
    /// # Errors
    /// [`DecodeError::Version`] for an entry that a later version wrote, [`DecodeError::Malformed`] for
    /// anything else that is no entry. Neither gets better by trying again.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct Probe {
            v: u8,
        }
        serde_json::from_slice::<Self>(bytes)
            .map_err(|error| match serde_json::from_slice::<Probe>(bytes) {
                Ok(probe) if probe.v > VERSION => DecodeError::Version(probe.v),
                _ => DecodeError::Malformed(error.classify_for_log()),
            })
            .and_then(|entry| {
                if entry.version > VERSION {
                    Err(DecodeError::Version(entry.version))
                } else {
                    Ok(entry)
                }
            })
    }

    /// The numbers that this entry accounts for; more than one only for an adoption.
    pub fn covers(&self) -> (u64, u64) {
        match &self.change {
            Change::Adopted { first, .. } => (*first, self.seq),
            _ => (self.seq, self.seq),
        }
    }

    /// The newest `seq` that a user may see, after this entry.
    pub fn public_seq(&self) -> u64 {
        if self.internal() {
            self.prev_seq
        } else {
            self.seq
        }
    }

    /// Whether only agents may see it.
    pub fn internal(&self) -> bool {
        matches!(&self.change, Change::Message(message) if message.internal)
    }

    /// The message, where the entry is one.
    pub fn message(&self) -> Option<Message> {
        match &self.change {
            Change::Message(message) => Some(message.clone().at(self.ticket_id, self.seq, self.at)),
            _ => None,
        }
    }

    /// The newest public message after this entry.
    pub fn last(&self) -> Option<Last> {
        match &self.change {
            Change::Message(message) if !message.internal => Some(Last {
                at: self.at,
                ..preview(message)
            }),
            _ => self.last.clone(),
        }
    }

    /// The ticket after this entry; `None` where the entry does not carry what never changes.
    pub fn ticket(&self) -> Option<Ticket> {
        let base = self.base.as_ref()?;
        Some(ticket(
            self.ticket_id,
            base,
            &self.head,
            &Numbers {
                seq: self.seq,
                message_count: self.message_count,
                last: self.last(),
                updated_at: self.at,
            },
        ))
    }
}

/// The fast-moving part of a ticket's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Numbers {
    /// The newest entry.
    pub seq: u64,
    /// Public messages.
    pub message_count: u64,
    /// The newest of them.
    pub last: Option<Last>,
    /// When the newest entry was accepted, in ms since 1970.
    pub updated_at: i64,
}

/// Puts a ticket together from its parts.
pub fn ticket(id: Id, base: &Base, head: &Head, numbers: &Numbers) -> Ticket {
    Ticket {
        id,
        subject: head.subject.clone(),
        description: base.description.clone(),
        status: head.status,
        priority: head.priority,
        tags: head.tags(),
        user_id: base.user_id.clone(),
        user_name: base.user_name.clone(),
        assigned_agent: head.agent(),
        seq: numbers.seq,
        message_count: numbers.message_count,
        last_message: numbers.last.clone().map(Into::into),
        created_at: Time(base.created_at),
        updated_at: Time(numbers.updated_at),
        closed_at: head.closed_at(),
    }
}

/// What `lastMessage` shows of a message. Its time is not known before the log gives it one.
pub fn preview(message: &NewMessage) -> Last {
    Last {
        content: message
            .content
            .chars()
            .take(crate::domain::limits::PREVIEW)
            .collect(),
        sender_name: message.sender_name.clone(),
        sender_type: message.sender_type,
        at: 0,
    }
}

/// Bytes that are no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a later version of the product.
    #[error("entry format {0} is newer than {VERSION}")]
    Version(u8),
    /// Not an entry. The text says where, never what: it may be a customer's words.
    #[error("not an entry: {0}")]
    Malformed(String),
}

/// Says where a JSON text went wrong without quoting it.
trait ClassifyForLog {
    fn classify_for_log(&self) -> String;
}

impl ClassifyForLog for serde_json::Error {
    fn classify_for_log(&self) -> String {
        format!("{:?} error at column {}", self.classify(), self.column())
    }
}

/// What goes over a ticket's channel without a place in its log: it is true for a moment, and nobody who
/// missed it misses anything.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Somebody began or ceased to type.
    #[serde(rename_all = "camelCase")]
    Typing {
        /// Who.
        sender_id: String,
        /// The name to show.
        sender_name: String,
        /// Began, or ceased.
        is_typing: bool,
        /// The socket it came from, which does not get it back.
        from: String,
    },
    /// Somebody came.
    Joined(Person),
    /// Somebody's last socket went.
    Left {
        /// Who.
        person: Person,
        /// How.
        reason: LeftReason,
    },
}

/// How somebody left a ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeftReason {
    /// Said so.
    Left,
    /// The connection ended.
    Disconnected,
    /// The gateway that held the connection has not been heard of.
    Timeout,
}

/// One payload on a ticket's channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Part of the log.
    Entry(Box<Entry>),
    /// Not part of it.
    Signal(Signal),
}

impl Frame {
    /// Reads a payload: `E` and an entry, or `S` and a signal.
    ///
    /// # Errors
    /// [`DecodeError`], as [`Entry::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.split_first() {
            Some((b'E', entry)) => Entry::decode(entry).map(|entry| Self::Entry(Box::new(entry))),
            Some((b'S', signal)) => serde_json::from_slice(signal)
                .map(Self::Signal)
                .map_err(|error| DecodeError::Malformed(error.classify_for_log())),
            _ => Err(DecodeError::Malformed("unknown kind of frame".into())),
        }
    }
}

impl Signal {
    /// The payload of this signal.
    ///
    /// # Errors
    /// None that can happen: every field is text.
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        Ok(format!("S{}", serde_json::to_string(self)?))
    }
}

#[cfg(test)]
mod tests;
