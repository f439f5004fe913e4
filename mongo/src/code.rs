//! Error codes of MongoDB and of servers that speak its protocol, and what they ask for.
//!
//! A code is transient, about a document, or not understood. What is not understood is retried as a transient one
//! is, and said to be so.

/// `ReadConcernMajorityNotEnabled`: a matter of the server's settings, not of the command.
pub const NO_MAJORITY_READS: i32 = 148;

/// Codes of a server that can't answer now: shutting down, not the primary (any more), interrupted, out of time, in
/// want of a lock or of quota, or one that does not let us in until an operator mends that.
const TRANSIENT: [i32; 36] = [
    6, 7, 13, 18, 24, 43, 46, 50, 63, 64, 79, 89, 91, 100, 112, 117, 133, 134, 150, 175, 189, 202,
    237, 246, 262, 462, 8_000, 9_001, 10_058, 10_107, 11_600, 11_601, 11_602, 13_388, 13_435,
    13_436,
];

/// Such codes of proxies and of servers that are not MongoDB's own.
const FOREIGN: [i32; 2] = [14_031, 16_500];

/// Complaints about one document that trying again does not cure: bad value, failed to parse, type mismatch, invalid
/// BSON, path not viable, `$`-prefixed, empty and dotted field names, immutable field, failed validation, parallel
/// arrays, and four ways of being too large.
const DOCUMENT: [i32; 16] = [
    2, 9, 14, 22, 28, 52, 56, 57, 66, 121, 171, 10_334, 16_755, 17_280, 17_419, 17_420,
];

/// Complaints about a whole command that some document in it may be the cause of. A narrow list: most errors of a
/// command come from the server's state or its settings, and are no reason to park anything.
const COMMAND: [i32; 2] = [22, 10_334];

/// If the same command may succeed later without any change.
pub fn is_transient(code: i32) -> bool {
    TRANSIENT.contains(&code) || FOREIGN.contains(&code)
}

/// If a write error with this code is about its document.
pub fn is_about_document(code: i32) -> bool {
    DOCUMENT.contains(&code)
}

/// If a command's error with this code is about one of its documents.
pub fn is_about_some_document(code: i32) -> bool {
    COMMAND.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_is_both() {
        for code in DOCUMENT
            .into_iter()
            .chain(COMMAND)
            .chain([20, 26, 59, 73, 166])
        {
            assert!(!is_transient(code), "{code}");
        }
        for code in COMMAND {
            assert!(is_about_document(code), "{code}");
        }
    }
}
