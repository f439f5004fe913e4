//! MongoDB as the gateway and the worker both know it: how its URI is checked, what its documents mean, those of
//! the worker and those of the server that this one replaces, and what its error codes ask for.
//!
//! What must hold: both processes read a document in the same way. The gateway numbers a ticket's messages by it,
//! and the worker writes those numbers.

pub mod code;
pub mod date;
pub mod documents;
pub mod fields;
pub mod form;
pub mod read_concern;
pub mod server_errors;
pub mod uri;
pub mod words;

/// The mark of a document that this product numbered: the version of the log that its `seq` belongs to.
///
/// Other servers number too, in fields that may well be called `seq`; this one only the worker writes.
pub const MARK: &str = "logVersion";

/// The version of the log that the worker writes.
pub const LOG_VERSION: i32 = 1;

/// Where what the worker replaced of another server's document is kept.
pub const LEGACY: &str = "legacy";

/// The database where the URI names none, as with the former server.
pub const DATABASE: &str = "ticket-system";
