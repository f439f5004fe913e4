//! What the server tells clients, event by event.

use serde::Serialize;

use super::ErrorBody;
use crate::{
    domain::{Message, Person, Status, Ticket},
    id::Id,
    stream::LeftReason,
    time::Time,
};

/// `message_received`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageReceived {
    /// The message.
    pub message: Message,
    /// Its place in the log.
    pub seq: u64,
    /// The `seq` before it that a user may see.
    pub prev_seq: u64,
}

/// `typing_indicator`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TypingIndicator {
    /// Where.
    pub ticket_id: Id,
    /// Who.
    pub sender_id: String,
    /// The name to show.
    pub sender_name: String,
    /// Began, or ceased.
    pub is_typing: bool,
    /// When it ends by itself without being renewed.
    pub expires_in_ms: u64,
}

/// `ticket_updated`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TicketUpdated {
    /// Which.
    pub ticket_id: Id,
    /// Where it stands now.
    pub status: Status,
    /// Who changed it.
    pub changed_by: String,
    /// That person's name.
    pub changed_by_name: String,
    /// The change's place in the log.
    pub seq: u64,
    /// The `seq` before it that a user may see.
    pub prev_seq: u64,
    /// The ticket after it.
    pub ticket: Ticket,
}

/// `agent_assigned`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentAssigned {
    /// Which.
    pub ticket_id: Id,
    /// To whom; null where it was taken from everybody.
    pub agent_id: Option<String>,
    /// That person's name.
    pub agent_name: Option<String>,
    /// By whom.
    pub assigned_by: String,
    /// That person's name.
    pub assigned_by_name: String,
    /// The change's place in the log.
    pub seq: u64,
    /// The `seq` before it that a user may see.
    pub prev_seq: u64,
}

/// `user_joined`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserJoined {
    /// Where.
    pub ticket_id: Id,
    /// Who.
    #[serde(flatten)]
    pub person: Person,
}

/// `user_left`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserLeft {
    /// Where.
    pub ticket_id: Id,
    /// Who.
    #[serde(flatten)]
    pub person: Person,
    /// How.
    pub reason: LeftReason,
}

/// `ticket_created`
#[derive(Clone, Debug, Serialize)]
pub struct TicketCreated {
    /// The new ticket.
    pub ticket: Ticket,
}

/// `token_expiring`
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenExpiring {
    /// When.
    pub expires_at: Time,
}

/// `exception`
#[derive(Clone, Debug, Serialize)]
pub struct Exception {
    /// The event that failed.
    pub event: String,
    /// Why.
    pub error: ErrorBody,
}

/// `resync`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resync {
    /// The ticket to join again.
    pub ticket_id: Id,
    /// Its new epoch.
    pub epoch: String,
}

/// `server_draining`
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerDraining {
    /// When the client should reconnect.
    pub reconnect_in_ms: u64,
}
