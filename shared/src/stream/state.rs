//! A ticket's state, in the parts in which entries carry it and Redis keeps it.

use serde::{Deserialize, Serialize};

use super::{Actor, NewMessage};
use crate::{
    domain::{Agent, LastMessage, Priority, Status, Ticket, UserType, limits},
    id::Id,
    time::Time,
};

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

impl Base {
    /// Whose ticket it is, where that is known.
    pub fn user(&self) -> Option<Actor> {
        self.user_id.clone().map(|id| Actor {
            name: self.user_name.clone().unwrap_or_default(),
            id,
        })
    }
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

/// The fast-moving part of a ticket's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Numbers {
    /// The newest entry.
    pub seq: u64,
    /// The newest entry that a user may see.
    pub public_seq: u64,
    /// Public messages.
    pub message_count: u64,
    /// The newest of them.
    pub last: Option<Last>,
    /// When the newest entry was accepted, in ms since 1970.
    pub updated_at: i64,
    /// When the newest entry was accepted that a user may see.
    pub public_at: i64,
}

impl Numbers {
    /// As one side of the ticket sees them: for a user nothing happens when agents write to each other.
    #[must_use]
    pub fn seen_by(&self, side: UserType) -> Self {
        match side {
            UserType::Agent => self.clone(),
            UserType::User => Self {
                seq: self.public_seq,
                updated_at: self.public_at,
                ..self.clone()
            },
        }
    }
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
        content: message.content.chars().take(limits::PREVIEW).collect(),
        sender_name: message.sender_name.clone(),
        sender_type: message.sender_type,
        at: 0,
    }
}
