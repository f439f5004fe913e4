//! Why a read failed, in the kinds that callers act on.
//!
//! What must hold: nothing of the driver's or the server's own words is kept. They may quote values: texts of a
//! query, a document that can't be read, parts of the URI.

use std::{io, time::Duration};

use mongodb::error::{Error, ErrorKind};
use ticket_mongo::code;
use ticket_shared::id::Id;

/// A read that gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// MongoDB, or its primary, did not answer; trying later may help.
    #[error("MongoDB can't be reached: {0}")]
    Unreachable(Unreachable),
    /// A document that was asked for by its id can't be understood; trying again does not help.
    #[error("document {id} of {collection} is malformed: {problem}")]
    Malformed {
        /// Where it is stored.
        collection: &'static str,
        /// Which one.
        id: Id,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// MongoDB refused the command: a defect of ours.
    #[error("MongoDB refused a read: {0}")]
    Refused(Trouble),
}

/// How MongoDB was found to be out of reach.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unreachable {
    /// No answer within the deadline.
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// This process is ending its tasks.
    #[error("this process is stopping")]
    Stopping,
    /// The driver says so.
    #[error("{0}")]
    Driver(Trouble),
}

/// What the driver says: the code, or the kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The server's answer to a command.
    #[error("error {code} {name}")]
    Command {
        /// Its number.
        code: i32,
        /// The name of that number, such as `Unauthorized`.
        name: String,
    },
    /// The connection broke, or was not made.
    #[error("connection: {0}")]
    Connection(io::ErrorKind),
    /// Anything else.
    #[error("{0}")]
    Other(&'static str),
}

/// The server does not accept the password.
const AUTHENTICATION: &str =
    "authentication failed: MongoDB does not accept the user or password of MONGO_URI";

impl Trouble {
    /// Returns `true` if the server answered, and does not admit the user or refuses the command.
    pub(super) fn is_denial(&self) -> bool {
        matches!(self, Self::Command { .. } | Self::Other(AUTHENTICATION))
    }

    pub(super) fn of(error: &Error) -> Self {
        Self::Other(match error.kind.as_ref() {
            ErrorKind::Command(refused) => {
                return Self::Command {
                    code: refused.code,
                    name: name_in(&refused.code_name),
                };
            }
            ErrorKind::Io(error) => return Self::Connection(error.kind()),
            ErrorKind::ServerSelection { .. } => "no server to read from",
            ErrorKind::ConnectionPoolCleared { .. } => "connection lost",
            ErrorKind::Authentication { .. } => AUTHENTICATION,
            ErrorKind::DnsResolve { .. } => "name not resolved",
            ErrorKind::InvalidTlsConfig { .. } => "TLS",
            ErrorKind::InvalidArgument { .. } => "invalid argument",
            ErrorKind::InvalidResponse { .. } => "invalid response",
            ErrorKind::IncompatibleServer { .. } => "incompatible server",
            ErrorKind::Shutdown => "the driver was shut down",
            _ => "the driver failed",
        })
    }
}

/// A name that the server gives a code, where it is one.
fn name_in(text: &str) -> String {
    let plain = text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain {
        text.to_owned()
    } else {
        "without a name".to_owned()
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let trouble = Trouble::of(&error);
        if is_transient(&error) {
            Self::Unreachable(Unreachable::Driver(trouble))
        } else {
            Self::Refused(trouble)
        }
    }
}

fn is_transient(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Io(_)
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Authentication { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::Shutdown => true,
        ErrorKind::Command(command) => {
            code::is_transient(command.code) || command.code == code::NO_MAJORITY_READS
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use mongodb::{bson, error::CommandError};

    use super::*;

    #[test]
    fn a_broken_connection_is_no_defect() {
        let broken = io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(matches!(
            StoreError::from(Error::from(broken)),
            StoreError::Unreachable(Unreachable::Driver(_))
        ));
        assert!(matches!(
            StoreError::from(Error::custom("defect")),
            StoreError::Refused(_)
        ));
    }

    fn refused(code: i32, name: &str) -> StoreError {
        let answer =
            bson::doc! { "code": code, "codeName": name, "errmsg": "no rights on hunter2" };
        let command: CommandError = bson::deserialize_from_document(answer).unwrap();
        StoreError::from(Error::from(ErrorKind::Command(command)))
    }

    #[test]
    fn nothing_is_kept_that_may_quote_a_value() {
        let told = [
            (
                refused(13, "Unauthorized"),
                "can't be reached: error 13 Unauthorized",
            ),
            (refused(2, "BadValue"), "refused a read: error 2 BadValue"),
            (
                refused(8000, "is hunter2"),
                "can't be reached: error 8000 without a name",
            ),
            (
                refused(11_600, "InterruptedAtShutdown"),
                "can't be reached: error 11600 InterruptedAtShutdown",
            ),
            (
                Error::from(io::Error::other("hunter2")).into(),
                "can't be reached: connection: other error",
            ),
            (
                Error::custom("hunter2").into(),
                "refused a read: the driver failed",
            ),
        ];
        for (error, words) in told {
            assert_eq!(error.to_string(), format!("MongoDB {words}"));
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
