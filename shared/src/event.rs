//! The wire contract of the Socket.IO side: names of events, their payloads, acknowledgements, errors.
//!
//! A payload is read field by field, so that what is wrong is always said with the field's name; the server's
//! own events are plain serialisable structs.

use serde::Serialize;

use crate::{
    domain::{Message, Person, Ticket},
    time::Time,
};

pub mod json;
mod payload;
mod told;

pub use payload::{
    AssignAgent, Fields, Invalid, JoinTicket, LeaveTicket, NewTicket, RefreshToken, Revoke,
    SendMessage, StatusChange, Typing,
};

pub use told::{
    AgentAssigned, Exception, MessageReceived, Resync, ServerDraining, TicketCreated,
    TicketUpdated, TokenExpiring, TypingIndicator, UserJoined, UserLeft,
};

/// Events that a client may send.
pub mod client {
    /// Enter a ticket.
    pub const JOIN_TICKET: &str = "join_ticket";
    /// Leave it.
    pub const LEAVE_TICKET: &str = "leave_ticket";
    /// Write.
    pub const SEND_MESSAGE: &str = "send_message";
    /// Say that one is typing.
    pub const TYPING: &str = "typing";
    /// Set the status.
    pub const TICKET_STATUS_CHANGE: &str = "ticket_status_change";
    /// Give the ticket to somebody.
    pub const ASSIGN_AGENT: &str = "assign_agent";
    /// Follow the whole queue (agents).
    pub const SUBSCRIBE_QUEUE: &str = "subscribe_queue";
    /// No longer.
    pub const UNSUBSCRIBE_QUEUE: &str = "unsubscribe_queue";
    /// Go on with another token.
    pub const REFRESH_TOKEN: &str = "refresh_token";

    /// All of them.
    pub const ALL: [&str; 9] = [
        JOIN_TICKET,
        LEAVE_TICKET,
        SEND_MESSAGE,
        TYPING,
        TICKET_STATUS_CHANGE,
        ASSIGN_AGENT,
        SUBSCRIBE_QUEUE,
        UNSUBSCRIBE_QUEUE,
        REFRESH_TOKEN,
    ];
}

/// Events that the server sends.
pub mod server {
    /// A message, to everyone in the ticket.
    pub const MESSAGE_RECEIVED: &str = "message_received";
    /// Somebody types, or no longer.
    pub const TYPING_INDICATOR: &str = "typing_indicator";
    /// The ticket changed.
    pub const TICKET_UPDATED: &str = "ticket_updated";
    /// Somebody works on it now, or nobody.
    pub const AGENT_ASSIGNED: &str = "agent_assigned";
    /// Somebody came.
    pub const USER_JOINED: &str = "user_joined";
    /// Somebody went.
    pub const USER_LEFT: &str = "user_left";
    /// A ticket was opened (queue).
    pub const TICKET_CREATED: &str = "ticket_created";
    /// The client's copy of the ticket can't be trusted: join again.
    pub const RESYNC: &str = "resync";
    /// This process is about to stop.
    pub const SERVER_DRAINING: &str = "server_draining";
    /// The token is about to expire.
    pub const TOKEN_EXPIRING: &str = "token_expiring";
    /// An event without an acknowledgement callback failed.
    pub const EXCEPTION: &str = "exception";
}

/// What can go wrong, as clients see it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Wrong type, missing field, out of limits.
    InvalidPayload,
    /// No identity.
    Unauthenticated,
    /// The identity may not do this.
    Forbidden,
    /// No such ticket, or not the caller's.
    TicketNotFound,
    /// The state is not what the caller took it for.
    Conflict,
    /// Over a limit in size.
    PayloadTooLarge,
    /// A body that is not JSON by its type; over REST only.
    UnsupportedMediaType,
    /// Not an event of the contract.
    UnknownEvent,
    /// Too many.
    RateLimited,
    /// The system sheds load; nothing was accepted.
    Overloaded,
    /// Redis or MongoDB is needed and can't be reached; nothing was accepted.
    Unavailable,
    /// A defect.
    Internal,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 12] = [
        Self::InvalidPayload,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::TicketNotFound,
        Self::Conflict,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::UnknownEvent,
        Self::RateLimited,
        Self::Overloaded,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidPayload => "invalid_payload",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::TicketNotFound => "ticket_not_found",
            Self::Conflict => "conflict",
            Self::PayloadTooLarge => "payload_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::UnknownEvent => "unknown_event",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

/// A failure, as acknowledged to a client.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// What.
    pub code: ErrorCode,
    /// For a person to read; never repeats input.
    pub message: String,
    /// The field that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// When to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The ticket as it is, with `conflict`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Box<Ticket>>,
}

/// The two forms of an acknowledgement: `{ok: true, …}` and `{ok: false, error}`.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Ack<T> {
    /// It is done, and durable where it changes something.
    Ok {
        /// Always `true`.
        ok: True,
        /// What the event answers.
        #[serde(flatten)]
        answer: T,
    },
    /// It is not.
    Failed {
        /// Always `false`.
        ok: False,
        /// Why.
        error: ErrorBody,
    },
}

impl<T> Ack<T> {
    /// A success.
    pub fn ok(answer: T) -> Self {
        Self::Ok { ok: True, answer }
    }

    /// A failure.
    pub fn failed(error: ErrorBody) -> Self {
        Self::Failed { ok: False, error }
    }
}

/// Serialises as `true`.
#[derive(Clone, Copy, Debug)]
pub struct True;

/// Serialises as `false`.
#[derive(Clone, Copy, Debug)]
pub struct False;

impl Serialize for True {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(true)
    }
}

impl Serialize for False {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(false)
    }
}

/// The answer of an event that has nothing to say.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Nothing {}

/// The answer to `join_ticket`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// The ticket.
    pub ticket: Ticket,
    /// Its messages, oldest first.
    pub messages: Vec<Message>,
    /// Who is there, the caller among them.
    pub participants: Vec<Person>,
    /// The newest `seq` that the caller may see: what comes next continues it.
    pub seq: u64,
    /// The epoch of the counter.
    pub epoch: String,
    /// Whether `messages` is all that came after the caller's `since`.
    pub recovered: bool,
}

/// The answer to `send_message`.
#[derive(Clone, Debug, Serialize)]
pub struct Sent {
    /// The message as it is stored.
    pub message: Message,
    /// Whether it had been sent before.
    pub duplicate: bool,
}

/// The answer to `refresh_token`.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refreshed {
    /// Until when the new token holds.
    pub expires_at: Time,
}

/// The answer to an event that changes a ticket.
#[derive(Clone, Debug, Serialize)]
pub struct Changed {
    /// The ticket after the change.
    pub ticket: Ticket,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_have_the_two_forms_of_the_contract() {
        let ok = serde_json::to_value(Ack::ok(Nothing {})).unwrap();
        assert_eq!(ok, serde_json::json!({"ok": true}));
        let failed = Ack::<Nothing>::failed(ErrorBody {
            code: ErrorCode::InvalidPayload,
            message: "m".into(),
            field: Some("content".into()),
            retry_after_ms: None,
            ticket: None,
        });
        assert_eq!(
            serde_json::to_value(failed).unwrap(),
            serde_json::json!({"ok": false, "error": {"code": "invalid_payload", "message": "m", "field": "content"}})
        );
    }

    #[test]
    fn codes_are_named_alike_in_code_and_in_json() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
