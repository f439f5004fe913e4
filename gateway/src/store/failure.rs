//! Why a read failed, in the kinds that callers act on.

use std::time::Duration;

use mongodb::error::{Error, ErrorKind};
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
    /// MongoDB refused the command: rights, or a defect of ours.
    #[error("MongoDB refused a read: {0}")]
    Refused(Error),
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
    Driver(Error),
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        if is_transient(&error) {
            Self::Unreachable(Unreachable::Driver(error))
        } else {
            Self::Refused(error)
        }
    }
}

/// Codes of a server that is shutting down, is not the primary (any more), or did not come to an end in time.
const TRANSIENT: [i32; 16] = [
    6, 7, 50, 89, 91, 133, 134, 189, 262, 9001, 10058, 10107, 11600, 11602, 13435, 13436,
];

fn is_transient(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Io(_)
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Authentication { .. }
        | ErrorKind::Shutdown => true,
        ErrorKind::Command(command) => TRANSIENT.contains(&command.code),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_is_no_defect() {
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(matches!(
            StoreError::from(Error::from(broken)),
            StoreError::Unreachable(Unreachable::Driver(_))
        ));
        assert!(matches!(
            StoreError::from(Error::custom("defect")),
            StoreError::Refused(_)
        ));
    }
}
