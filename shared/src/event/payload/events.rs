//! The payloads of the events and of `POST /tickets`, each read from its fields.

use serde_json::Value;

use super::{Fields, Invalid};
use crate::{
    config::Secret,
    domain::{Agent, Priority, Status, UserType, limits},
    id::Id,
};

const SIDES: &str = "user, agent";
const STATUSES: &str = "open, pending, closed";
const PRIORITIES: &str = "low, normal, high, urgent";

/// The priority of this name; `medium` is what others call `normal`.
fn priority(name: &str) -> Option<Priority> {
    match name {
        "medium" => Some(Priority::Normal),
        name => Priority::parse(name),
    }
}

/// `join_ticket`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinTicket {
    /// Which.
    pub ticket_id: Id,
    /// Who joins.
    pub user_id: String,
    /// On which side.
    pub user_type: UserType,
    /// The name to show.
    pub user_name: String,
    /// The last `seq` that the client saw.
    pub since: Option<u64>,
    /// The epoch it saw it in.
    pub epoch: Option<String>,
}

impl TryFrom<Value> for JoinTicket {
    type Error = Invalid;
    fn try_from(payload: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::of(payload)?;
        Ok(Self {
            ticket_id: fields.id("ticketId")?,
            user_id: fields.label("userId", limits::ID)?,
            user_type: fields.one_of("userType", UserType::parse, SIDES)?,
            user_name: fields.label("userName", limits::NAME)?,
            since: fields.optional_number("since")?,
            epoch: fields.exact_text("epoch", limits::ID)?,
        })
    }
}

/// `leave_ticket`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaveTicket {
    /// Which.
    pub ticket_id: Id,
}

impl TryFrom<Value> for LeaveTicket {
    type Error = Invalid;
    fn try_from(payload: Value) -> Result<Self, Invalid> {
        Ok(Self {
            ticket_id: Fields::of(payload)?.id("ticketId")?,
        })
    }
}

/// `send_message`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMessage {
    /// Where.
    pub ticket_id: Id,
    /// Who writes.
    pub sender_id: String,
    /// On which side.
    pub sender_type: UserType,
    /// The writer's name.
    pub sender_name: String,
    /// The text.
    pub content: String,
    /// The client's own id: a repeat of it is the same message.
    pub client_message_id: Option<String>,
    /// For agents only.
    pub internal: bool,
}

impl TryFrom<Value> for SendMessage {
    type Error = Invalid;
    fn try_from(payload: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::of(payload)?;
        Ok(Self {
            ticket_id: fields.id("ticketId")?,
            sender_id: fields.label("senderId", limits::ID)?,
            sender_type: fields.one_of("senderType", UserType::parse, SIDES)?,
            sender_name: fields.label("senderName", limits::NAME)?,
            content: fields.cast_text("content", limits::CONTENT)?,
            client_message_id: fields.exact_text("clientMessageId", limits::CLIENT_MESSAGE_ID)?,
            internal: fields.optional_flag("internal")?.unwrap_or(false),
        })
    }
}

/// `typing`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typing {
    /// Where.
    pub ticket_id: Id,
    /// Who.
    pub sender_id: String,
    /// The name to show.
    pub sender_name: String,
    /// Began, or ceased.
    pub is_typing: bool,
}

impl TryFrom<Value> for Typing {
    type Error = Invalid;
    fn try_from(payload: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::of(payload)?;
        Ok(Self {
            ticket_id: fields.id("ticketId")?,
            sender_id: fields.label("senderId", limits::ID)?,
            sender_name: fields.label("senderName", limits::NAME)?,
            is_typing: fields.flag("isTyping")?,
        })
    }
}

/// `ticket_status_change`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// Which.
    pub ticket_id: Id,
    /// To what.
    pub status: Status,
    /// Who changes it.
    pub changed_by: String,
    /// That person's name.
    pub changed_by_name: String,
    /// Only if the ticket is still where the client saw it.
    pub expected_seq: Option<u64>,
}

impl TryFrom<Value> for StatusChange {
    type Error = Invalid;
    fn try_from(payload: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::of(payload)?;
        Ok(Self {
            ticket_id: fields.id("ticketId")?,
            status: fields.one_of("status", Status::parse, STATUSES)?,
            changed_by: fields.label("changedBy", limits::ID)?,
            changed_by_name: fields.label("changedByName", limits::NAME)?,
            expected_seq: fields.optional_number("expectedSeq")?,
        })
    }
}

/// `assign_agent`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignAgent {
    /// Which.
    pub ticket_id: Id,
    /// To whom; nobody where the client sent null.
    pub agent: Option<Agent>,
    /// By whom.
    pub assigned_by: String,
    /// That person's name.
    pub assigned_by_name: String,
    /// Only if the ticket is still where the client saw it.
    pub expected_seq: Option<u64>,
}

impl TryFrom<Value> for AssignAgent {
    type Error = Invalid;
    fn try_from(payload: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::of(payload)?;
        if !fields.0.contains_key("agentId") {
            return Err(Invalid::new(
                "agentId",
                "is required (null takes the ticket from everybody)",
            ));
        }
        let agent = match fields.optional_label("agentId", limits::ID)? {
            Some(agent_id) => Some(Agent {
                agent_id,
                agent_name: fields.label("agentName", limits::NAME)?,
            }),
            None => None,
        };
        Ok(Self {
            ticket_id: fields.id("ticketId")?,
            agent,
            assigned_by: fields.label("assignedBy", limits::ID)?,
            assigned_by_name: fields.label("assignedByName", limits::NAME)?,
            expected_seq: fields.optional_number("expectedSeq")?,
        })
    }
}

/// `refresh_token`
#[derive(Clone)]
pub struct RefreshToken {
    /// The new token.
    pub token: Secret,
}

impl TryFrom<Value> for RefreshToken {
    type Error = Invalid;
    fn try_from(payload: Value) -> Result<Self, Invalid> {
        let token = Fields::of(payload)?.text("token", limits::TOKEN)?;
        Ok(Self {
            token: Secret::new(token),
        })
    }
}

/// The body of `POST /admin/revoke`: whose tokens, or which one, hold no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoke {
    /// All that this person has got so far.
    Of(String),
    /// The one of this id (`jti`).
    Token(String),
}

impl TryFrom<Value> for Revoke {
    type Error = Invalid;
    fn try_from(payload: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::of(payload)?;
        match (
            fields.exact_id("sub", limits::ID)?,
            fields.exact_id("jti", limits::TOKEN_ID)?,
        ) {
            (Some(person), None) => Ok(Self::Of(person)),
            (None, Some(token)) => Ok(Self::Token(token)),
            (None, None) => Err(Invalid::new("sub", "is required (or jti)")),
            (Some(_), Some(_)) => Err(Invalid::new("jti", "must not stand beside sub")),
        }
    }
}

/// The body of `POST /tickets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTicket {
    /// What it is about.
    pub subject: String,
    /// The customer's own words.
    pub description: String,
    /// How much it presses.
    pub priority: Priority,
    /// Labels.
    pub tags: Vec<String>,
    /// Whose ticket it is.
    pub user_id: Option<String>,
    /// That person's name.
    pub user_name: Option<String>,
}

impl TryFrom<Value> for NewTicket {
    type Error = Invalid;
    fn try_from(payload: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::of(payload)?;
        // `title` is what the former server called it.
        let subject = if fields.has("subject") || !fields.has("title") {
            "subject"
        } else {
            "title"
        };
        Ok(Self {
            subject: fields.text(subject, limits::SUBJECT)?,
            description: fields.any_text("description", limits::DESCRIPTION)?,
            priority: fields
                .optional_one_of("priority", priority, PRIORITIES)?
                .unwrap_or_default(),
            tags: fields.tags("tags")?,
            user_id: fields.optional_label("userId", limits::ID)?,
            user_name: fields.optional_label("userName", limits::NAME)?,
        })
    }
}
