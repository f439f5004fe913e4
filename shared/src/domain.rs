//! Tickets and messages as clients see them, and the limits on what they may hold.
//!
//! Serialised, these are the JSON shapes of the contract: camelCase, ids as 24 hexadecimal digits, times as
//! RFC 3339 with milliseconds.

use serde::{Deserialize, Serialize};

use crate::{id::Id, time::Time};

/// The limits on text, in characters (Unicode scalar values) after trimming.
pub mod limits {
    /// A message.
    pub const CONTENT: usize = 8_192;
    /// A person's name.
    pub const NAME: usize = 128;
    /// An id that a client chose: users, agents.
    pub const ID: usize = 128;
    /// A ticket's subject.
    pub const SUBJECT: usize = 200;
    /// A ticket's description.
    pub const DESCRIPTION: usize = 8_192;
    /// One tag.
    pub const TAG: usize = 64;
    /// Tags on one ticket.
    pub const TAGS: usize = 20;
    /// A client's own id for a message, or an `Idempotency-Key`.
    pub const CLIENT_MESSAGE_ID: usize = 64;
    /// The part of a message that `lastMessage` shows.
    pub const PREVIEW: usize = 200;
    /// A token's own id.
    pub const TOKEN_ID: usize = 256;
    /// A token, in characters.
    pub const TOKEN: usize = 8 * 1024;
    /// A frame or a body, in bytes.
    pub const FRAME: usize = 64 * 1024;
}

/// Where a ticket stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Somebody has to act.
    #[default]
    Open,
    /// Waiting for the customer.
    Pending,
    /// Done; may be opened again.
    Closed,
}

impl Status {
    /// Every status, in the order of a ticket's life.
    pub const ALL: [Self; 3] = [Self::Open, Self::Pending, Self::Closed];

    /// The name on the wire and in storage.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Pending => "pending",
            Self::Closed => "closed",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// How much a ticket presses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Can wait.
    Low,
    /// As they come.
    #[default]
    Normal,
    /// Before the others.
    High,
    /// Now.
    Urgent,
}

impl Priority {
    /// Every priority, rising.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Urgent];

    /// The name on the wire and in storage.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Urgent => "urgent",
        }
    }

    /// The priority of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.as_str() == name)
    }
}

/// On which side of the ticket a person is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserType {
    /// A customer.
    User,
    /// Somebody of the support team.
    Agent,
}

impl UserType {
    /// The name on the wire and in storage.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Agent => "agent",
        }
    }

    /// The side of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::User, Self::Agent]
            .into_iter()
            .find(|side| side.as_str() == name)
    }
}

/// Who a ticket is assigned to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// The agent's id in the customer's own system.
    pub agent_id: String,
    /// The name to show.
    pub agent_name: String,
}

/// The newest message of a ticket that its user may see, cut to [`limits::PREVIEW`] characters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastMessage {
    /// The beginning of the text.
    pub content: String,
    /// Who wrote it.
    pub sender_name: String,
    /// On which side the writer is.
    pub sender_type: UserType,
    /// When it was accepted.
    pub created_at: Time,
}

/// A ticket, as clients see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// Its id.
    #[serde(rename = "_id")]
    pub id: Id,
    /// What it is about.
    pub subject: String,
    /// The customer's own words.
    pub description: String,
    /// Where it stands.
    pub status: Status,
    /// How much it presses.
    pub priority: Priority,
    /// Labels.
    pub tags: Vec<String>,
    /// Whose ticket it is, where that is known.
    pub user_id: Option<String>,
    /// That person's name.
    pub user_name: Option<String>,
    /// Who works on it.
    pub assigned_agent: Option<Agent>,
    /// The number of the newest thing that happened to it.
    pub seq: u64,
    /// Messages that its user may see.
    pub message_count: u64,
    /// The newest of them.
    pub last_message: Option<LastMessage>,
    /// When it was opened.
    pub created_at: Time,
    /// When something last happened to it.
    pub updated_at: Time,
    /// When it was closed, while it is.
    pub closed_at: Option<Time>,
}

/// A message, as clients see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Its id.
    #[serde(rename = "_id")]
    pub id: Id,
    /// The ticket it was written in.
    pub ticket_id: Id,
    /// Its place in the ticket's log.
    pub seq: u64,
    /// Who wrote it.
    pub sender_id: String,
    /// On which side the writer is.
    pub sender_type: UserType,
    /// The writer's name.
    pub sender_name: String,
    /// The text.
    pub content: String,
    /// For agents only.
    pub internal: bool,
    /// The id that the sending client gave it.
    pub client_message_id: Option<String>,
    /// When it was accepted, by Redis' clock.
    pub created_at: Time,
}

/// Somebody in a ticket: a person, however many tabs are open.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    /// The person's id in the customer's own system.
    pub user_id: String,
    /// On which side.
    pub user_type: UserType,
    /// The name to show.
    pub user_name: String,
}

impl Person {
    /// What tells persons apart: the side and the id. Two people may share a name.
    pub fn key(&self) -> String {
        Self::key_of(self.user_type, &self.user_id)
    }

    /// The key of the person with this id on this side.
    pub fn key_of(side: UserType, id: &str) -> String {
        format!("{}:{id}", side.as_str())
    }
}

/// How many tickets there are, by status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Open ones.
    pub open: u64,
    /// Pending ones.
    pub pending: u64,
    /// Closed ones.
    pub closed: u64,
    /// All of them.
    pub total: u64,
    /// Those that nobody works on and that are not closed.
    pub unassigned: u64,
}

impl Counts {
    /// Counts one more ticket.
    pub fn add(&mut self, status: Status, assigned: bool, tickets: u64) {
        match status {
            Status::Open => self.open += tickets,
            Status::Pending => self.pending += tickets,
            Status::Closed => self.closed += tickets,
        }
        self.total += tickets;
        if !assigned && status != Status::Closed {
            self.unassigned += tickets;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_code_and_in_json() {
        for status in Status::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        for priority in Priority::ALL {
            assert_eq!(serde_json::to_value(priority).unwrap(), priority.as_str());
            assert_eq!(Priority::parse(priority.as_str()), Some(priority));
        }
        for side in [UserType::User, UserType::Agent] {
            assert_eq!(serde_json::to_value(side).unwrap(), side.as_str());
            assert_eq!(UserType::parse(side.as_str()), Some(side));
        }
    }

    #[test]
    fn a_closed_ticket_waits_for_nobody() {
        let mut counts = Counts::default();
        counts.add(Status::Open, false, 2);
        counts.add(Status::Pending, true, 1);
        counts.add(Status::Closed, false, 4);
        assert_eq!(
            counts,
            Counts {
                open: 2,
                pending: 1,
                closed: 4,
                total: 7,
                unassigned: 2
            }
        );
    }
}
