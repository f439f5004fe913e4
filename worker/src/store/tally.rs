//! Whom an error is about that is not understood: a document, or the server.
//!
//! Where something else of the same kind was stored, it is about the document. Where nothing was, of several, it is the
//! server's, and parking all of them would help nobody.

use std::collections::HashMap;

use ticket_mongo::code;

use super::{
    Failure, Refusal, Refused,
    command::{Command, Verb},
};

#[derive(Default)]
struct Count {
    operations: usize,
    unknown: usize,
    code: i32,
}

/// Counts, for each kind of write, the operations and those that failed in such a way.
#[derive(Default)]
pub(super) struct Tally(HashMap<(&'static str, Verb), Count>);

impl Tally {
    pub(super) fn count(&mut self, command: &Command, refused: &[Refused]) {
        let count = self
            .0
            .entry((command.collection, command.verb))
            .or_default();
        count.operations += command.operations.len();
        for refused in refused {
            if let Refusal::Code(code) = refused.why
                && !code::is_about_document(code)
            {
                count.unknown += 1;
                count.code = code;
            }
        }
    }

    /// # Errors
    /// If it is the server.
    pub(super) fn blame(&self) -> Result<(), Failure> {
        let server = self
            .0
            .values()
            .find(|count| count.unknown > 1 && count.unknown == count.operations);
        server.map_or(Ok(()), |count| Err(Failure::Command(count.code)))
    }
}
