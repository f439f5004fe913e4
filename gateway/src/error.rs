//! Errors of the gateway, and the one place where they become acknowledgements and HTTP answers.
//!
//! Inside they say what happened; outside they say a code of the contract, the field's name where there is
//! one, and when to try again. Nothing of the input, and nothing of our insides, gets out.

use axum::http::StatusCode;
use ticket_shared::{
    domain::{Ticket, limits},
    event::{ErrorBody, ErrorCode, Invalid},
    redis::{Failure, refusal, words},
};

use crate::store::StoreError;

mod problem;

pub use problem::plain_problem;

/// How long a client should wait after `unavailable`, in milliseconds.
const RETRY_UNAVAILABLE_MS: u64 = 1_000;
/// How long a client should wait after `overloaded`, in milliseconds.
const RETRY_OVERLOADED_MS: u64 = 2_000;

/// The reason of [`Error::Unauthenticated`] if there is no token.
pub const NO_TOKEN: &str = "missing";

/// What can go wrong with a request.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A field is not as the contract wants it.
    #[error("invalid payload: {0}")]
    Invalid(#[from] Invalid),
    /// The request is no JSON at all, or not what the route takes.
    #[error("malformed request")]
    Malformed(&'static str),
    /// The caller did not say who it is in a way that can be believed. The reason is for the log.
    #[error("unauthenticated: {0}")]
    Unauthenticated(&'static str),
    /// The caller may not do this.
    #[error("forbidden: {0}")]
    Forbidden(&'static str),
    /// No such ticket.
    #[error("no such ticket")]
    TicketNotFound,
    /// The ticket is not where the caller saw it.
    #[error("conflict: {0}")]
    Conflict(&'static str, Box<Ticket>),
    /// Too many bytes.
    #[error("payload too large")]
    TooLarge,
    /// A body of another type than JSON.
    #[error("unsupported media type")]
    MediaType,
    /// A body in another coding than gzip.
    #[error("unsupported content coding")]
    ContentCoding,
    /// Not an event of the contract.
    #[error("unknown event")]
    UnknownEvent,
    /// The caller asks too often. Nothing was accepted.
    #[error("rate limited for {retry_after_ms} ms")]
    RateLimited {
        /// When there is room again.
        retry_after_ms: u64,
    },
    /// Redis refuses writes, or a queue is full. Nothing was accepted.
    #[error("overloaded: {0}")]
    Overloaded(&'static str),
    /// Redis or MongoDB can't be reached.
    #[error("unavailable: {part}: {reason}")]
    Unavailable {
        /// Which of them.
        part: &'static str,
        /// Why, for the log.
        reason: String,
    },
    /// A defect of ours.
    #[error("internal: {0}")]
    Internal(String),
}

impl Error {
    /// The code of the contract.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(_) | Self::Malformed(_) => ErrorCode::InvalidPayload,
            Self::Unauthenticated(_) => ErrorCode::Unauthenticated,
            Self::RateLimited { .. } => ErrorCode::RateLimited,
            Self::Forbidden(_) => ErrorCode::Forbidden,
            Self::TicketNotFound => ErrorCode::TicketNotFound,
            Self::Conflict(..) => ErrorCode::Conflict,
            Self::TooLarge => ErrorCode::PayloadTooLarge,
            Self::MediaType | Self::ContentCoding => ErrorCode::UnsupportedMediaType,
            Self::UnknownEvent => ErrorCode::UnknownEvent,
            Self::Overloaded(_) => ErrorCode::Overloaded,
            Self::Unavailable { .. } => ErrorCode::Unavailable,
            Self::Internal(_) => ErrorCode::Internal,
        }
    }

    /// What the caller is told.
    pub fn body(self) -> ErrorBody {
        let code = self.code();
        let mut body = ErrorBody {
            code,
            message: String::new(),
            field: None,
            retry_after_ms: None,
            ticket: None,
        };
        match self {
            Self::Invalid(invalid) => {
                body.message = invalid.to_string();
                body.field = Some(invalid.field);
            }
            Self::Malformed(what) | Self::Forbidden(what) => body.message = what.into(),
            // Why a token was not believed would help whoever forges one.
            Self::Unauthenticated(_) => body.message = "a valid token is needed".into(),
            Self::RateLimited { retry_after_ms } => {
                body.message = "too many requests".into();
                body.retry_after_ms = Some(retry_after_ms);
            }
            Self::TicketNotFound => body.message = "no such ticket".into(),
            Self::Conflict(what, ticket) => {
                body.message = what.into();
                body.ticket = Some(ticket);
            }
            Self::TooLarge => body.message = format!("may have {} bytes at most", limits::FRAME),
            Self::MediaType => body.message = "the body must be application/json".into(),
            Self::ContentCoding => body.message = "the body's coding must be gzip, or none".into(),
            Self::UnknownEvent => body.message = "no such event".into(),
            Self::Overloaded(what) => {
                body.message = what.into();
                body.retry_after_ms = Some(RETRY_OVERLOADED_MS);
            }
            Self::Unavailable { part, .. } => {
                body.message = format!("{part} can't be reached");
                body.retry_after_ms = Some(RETRY_UNAVAILABLE_MS);
            }
            Self::Internal(_) => body.message = "something is broken on our side".into(),
        }
        body
    }

    /// The HTTP status of the contract.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::TicketNotFound | Self::UnknownEvent => StatusCode::NOT_FOUND,
            Self::Conflict(..) => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType | Self::ContentCoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Overloaded(_) | Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Logs what an operator has to know of: once, where the error is answered.
    pub fn log(&self, operation: &str) {
        match self {
            Self::Internal(reason) => {
                tracing::error!(operation, reason, "request failed by a defect");
            }
            Self::Unavailable { part, reason } => {
                tracing::warn!(
                    operation,
                    part,
                    reason,
                    "request failed, dependency unreachable"
                );
            }
            Self::Overloaded(reason) => {
                tracing::warn!(operation, reason, "request refused, overloaded");
            }
            other => tracing::debug!(
                operation,
                error.code = other.code().as_str(),
                "request refused"
            ),
        }
    }
}

impl From<fred::error::Error> for Error {
    fn from(error: fred::error::Error) -> Self {
        match ticket_shared::redis::failure(&error) {
            Failure::Refused => Self::Overloaded(refusal(&error)),
            Failure::Unreachable | Failure::NoScript => Self::Unavailable {
                part: "redis",
                reason: words(&error),
            },
            Failure::NoGroup | Failure::Defect => {
                Self::Internal(format!("redis: {}", words(&error)))
            }
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreachable(reason) => Self::Unavailable {
                part: "mongo",
                reason: reason.to_string(),
            },
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Internal(format!("json: {:?}", error.classify()))
    }
}

impl From<ticket_shared::stream::DecodeError> for Error {
    fn from(error: ticket_shared::stream::DecodeError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Internal(format!("io: {}", error.kind()))
    }
}
