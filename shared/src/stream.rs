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
    domain::{Agent, Message, Status, Ticket, UserType},
    id::Id,
    time::Time,
};

mod frame;
mod keys;
mod state;

pub use frame::{Frame, LeftReason, Signal};
pub use keys::Keys;
pub use state::{Base, Head, Last, Numbers, preview, ticket};

/// The entry format that this code writes. A reader parks entries of a higher one.
pub const VERSION: u8 = 1;

/// The name of the one field of a stream entry.
pub const FIELD: &str = "d";

/// The consumer group of the workers.
pub const GROUP: &str = "persist";

/// The beginning of a claim's mark while `ticket-worker adopt` numbers the ticket. Nobody else puts the ticket into Redis
/// then; a mark that begins otherwise says that somebody has done so since.
pub const HELD: &str = "held:";

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
        /// The newest number that a user may see, if that is not the entry's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        public: Option<u64>,
        /// Of those of them that are stored under an id of another kind, that id as `ticket_mongo::form` encodes it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        legacy_ids: Vec<(Id, String)>,
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
    /// When the entry before it was accepted that a user may see; in internal messages only.
    #[serde(rename = "pa", default, skip_serializing_if = "Option::is_none")]
    pub prev_public_at: Option<i64>,
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
        match self.change {
            Change::Adopted {
                public: Some(seq), ..
            } => seq,
            _ if self.internal() => self.prev_seq,
            _ => self.seq,
        }
    }

    /// When the newest entry was accepted that a user may see, after this entry; in ms since 1970.
    pub fn public_at(&self) -> i64 {
        match self.prev_public_at {
            Some(at) if self.internal() => at,
            _ => self.at,
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
        Some(ticket(self.ticket_id, base, &self.head, &self.numbers()))
    }

    /// The numbers of the ticket after this entry.
    pub fn numbers(&self) -> Numbers {
        Numbers {
            seq: self.seq,
            public_seq: self.public_seq(),
            message_count: self.message_count,
            last: self.last(),
            updated_at: self.at,
            public_at: self.public_at(),
        }
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

#[cfg(test)]
mod tests;
