//! What goes over a ticket's channel: entries of its log, and signals that have no place in it.

use serde::{Deserialize, Serialize};

use super::{ClassifyForLog, DecodeError, Entry};
use crate::domain::{Person, UserType};

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
        /// The side; left out if it is not known, and by versions before there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sender_type: Option<UserType>,
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

/// One line of a payload on a ticket's channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Part of the log.
    Entry(Box<Entry>),
    /// Not part of it.
    Signal(Signal),
}

impl Frame {
    /// Reads a payload: frames in their order, each in a line of its own. What is appended together comes together.
    pub fn decode_all(payload: &[u8]) -> impl Iterator<Item = Result<Self, DecodeError>> {
        // JSON escapes ends of lines within texts, and nothing here writes any between them.
        payload.split(|byte| *byte == b'\n').map(Self::decode)
    }

    /// Reads one frame: `E` and an entry, or `S` and a signal.
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
