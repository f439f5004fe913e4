//! What the server's reply to a bulk command means.

use mongodb::bson::{Document, doc};
use ticket_mongo::code;

use super::{
    Effort, Failure, Refusal, Refused,
    command::{Command, Verb},
};

/// A value of a unique index is there already.
const DUPLICATE: i32 = 11_000;

/// What to do after a command.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing is certain: perform the batch again.
    Retry(Failure),
    /// The command as a whole is refused, because of one of its operations.
    Halve,
    /// Everything is stored except what is listed.
    Settled {
        /// What the server does not take.
        refused: Vec<Refused>,
        /// Upserts that found no matching document and then met one when they inserted: it is newer, or it
        /// was created in between. Only another look can tell.
        collided: Vec<usize>,
    },
}

/// Reads the reply to `command`.
pub(super) fn verdict(
    command: &Command,
    reply: Result<Document, Failure>,
    effort: Effort,
) -> Verdict {
    let unknown = |code| effort == Effort::Apart && !code::is_transient(code);
    let reply = match reply {
        Ok(reply) => reply,
        Err(Failure::Command(code)) if code::is_about_some_document(code) || unknown(code) => {
            return match command.operations[..] {
                [ref only] => Verdict::Settled {
                    refused: vec![Refused {
                        entry: only.entry,
                        scope: only.scope,
                        why: Refusal::Code(code),
                    }],
                    collided: Vec::new(),
                },
                _ => Verdict::Halve,
            };
        }
        Err(failure) => return Verdict::Retry(failure),
    };
    if let Ok(error) = reply.get_document("writeConcernError") {
        return Verdict::Retry(Failure::Unconfirmed(number(error, "code").unwrap_or(0)));
    }
    let (mut refused, mut collided) = (Vec::new(), Vec::new());
    let errors = reply
        .get_array("writeErrors")
        .map_or(&[][..], |errors| errors);
    for error in errors {
        let code = error.as_document().and_then(|error| number(error, "code"));
        let place = error
            .as_document()
            .and_then(|error| number(error, "index"))
            .and_then(|index| usize::try_from(index).ok());
        let operation = place.and_then(|place| command.operations.get(place));
        let (Some(error), Some(place), Some(operation)) = (error.as_document(), place, operation)
        else {
            return Verdict::Retry(Failure::Write(code.unwrap_or(0)));
        };
        let mut refuse = |why| {
            refused.push(Refused {
                entry: operation.entry,
                scope: operation.scope,
                why,
            });
        };
        match (code, command.verb) {
            (Some(DUPLICATE), _) if !by_id(error) => refuse(Refusal::NotUnique),
            // It is there already: a replay.
            (Some(DUPLICATE), Verb::Insert) => {}
            (Some(DUPLICATE), Verb::Update) => collided.push(place),
            (Some(code), _) if code::is_about_document(code) || unknown(code) => {
                refuse(Refusal::Code(code));
            }
            (code, _) => return Verdict::Retry(Failure::Write(code.unwrap_or(0))),
        }
    }
    Verdict::Settled { refused, collided }
}

/// Whether a duplicate is one of `_id`. Where the server does not say, it is: no other unique index is ours.
fn by_id(error: &Document) -> bool {
    error
        .get_document("keyPattern")
        .map_or(true, |pattern| pattern.keys().eq(doc! { "_id": 1 }.keys()))
}

/// Servers differ in the type of their numbers.
fn number(document: &Document, field: &str) -> Option<i32> {
    use mongodb::bson::Bson;
    match document.get(field)? {
        Bson::Int32(n) => Some(*n),
        Bson::Int64(n) => i32::try_from(*n).ok(),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "codes and indexes are small whole numbers"
        )]
        Bson::Double(n) => Some(*n as i32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fold::{Insert, Scope, Update, Writes},
        store::command::commands,
    };

    fn two(verb: Verb) -> Command {
        let insert = |entry| Insert {
            entry,
            document: doc! { "_id": 1 },
        };
        let update = |entry| Update {
            entry,
            scope: Scope::Ticket,
            filter: doc! { "_id": 1 },
            set: doc! { "seq": 1 },
            more: Document::new(),
            upsert: true,
        };
        let writes = match verb {
            Verb::Insert => Writes {
                messages: vec![insert(5), insert(6)],
                ..Writes::default()
            },
            Verb::Update => Writes {
                tickets: vec![update(5), update(6)],
                ..Writes::default()
            },
        };
        commands(&writes).0.remove(0)
    }

    fn settled(verb: Verb, errors: &[Document]) -> (Vec<Refused>, Vec<usize>) {
        let reply = doc! { "ok": 1, "n": 1, "writeErrors": errors };
        match verdict(&two(verb), Ok(reply), Effort::Together) {
            Verdict::Settled { refused, collided } => (refused, collided),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_there_already_is_stored() {
        let error = doc! { "index": 1, "code": 11_000, "keyPattern": { "_id": 1 } };
        assert_eq!(settled(Verb::Insert, &[error]), (vec![], vec![]));
        assert_eq!(settled(Verb::Insert, &[]), (vec![], vec![]));
    }

    #[test]
    fn a_duplicate_of_something_else_is_not_stored() {
        let error = doc! { "index": 1, "code": 11_000, "keyPattern": { "clientMessageId": 1 } };
        let (refused, _) = settled(Verb::Insert, &[error]);
        assert_eq!((refused[0].entry, refused[0].why), (6, Refusal::NotUnique));
    }

    #[test]
    fn an_upsert_that_met_a_document_looks_again() {
        let error = doc! { "index": 0_i64, "code": 11_000 };
        assert_eq!(settled(Verb::Update, &[error]), (vec![], vec![0]));
    }

    #[test]
    fn a_refused_document_is_told_from_a_failing_server() {
        let (refused, _) = settled(Verb::Update, &[doc! { "index": 0, "code": 121 }]);
        assert_eq!(
            refused,
            [Refused {
                entry: 5,
                scope: Scope::Ticket,
                why: Refusal::Code(121)
            }]
        );
        for reply in [
            Ok(doc! { "ok": 1, "writeErrors": [{ "index": 0, "code": 10_107 }] }),
            Ok(doc! { "ok": 1, "writeErrors": [{ "index": 9, "code": 121 }] }),
            Ok(doc! { "ok": 1, "writeConcernError": { "code": 64 } }),
            Err(Failure::Command(2)),
            Err(Failure::TimedOut),
        ] {
            let verdict = verdict(&two(Verb::Insert), reply, Effort::Together);
            assert!(matches!(verdict, Verdict::Retry(_)), "{verdict:?}");
        }
    }

    #[test]
    fn a_refused_command_is_halved_down_to_the_culprit() {
        let refused = || Err(Failure::Command(10_334));
        let both = two(Verb::Insert);
        assert!(matches!(
            verdict(&both, refused(), Effort::Together),
            Verdict::Halve
        ));
        let [_, second] = both.halves();
        let Verdict::Settled { refused, .. } = verdict(&second, refused(), Effort::Together) else {
            panic!("one operation is settled");
        };
        assert_eq!(refused[0].entry, 6);
    }

    #[test]
    fn what_is_not_understood_is_narrowed_down_only_when_asked_for() {
        let illegal = || Err(Failure::Command(20));
        let both = two(Verb::Insert);
        let together = verdict(&both, illegal(), Effort::Together);
        assert!(matches!(together, Verdict::Retry(_)));
        assert!(matches!(
            verdict(&both, illegal(), Effort::Apart),
            Verdict::Halve
        ));
        let [first, _] = both.clone().halves();
        let Verdict::Settled { refused, .. } = verdict(&first, illegal(), Effort::Apart) else {
            panic!("one operation is settled");
        };
        assert_eq!(refused[0].why, Refusal::Code(20));
        let transient = verdict(&both, Err(Failure::Command(10_107)), Effort::Apart);
        assert!(matches!(transient, Verdict::Retry(_)));
        let one = Ok(doc! { "ok": 1, "writeErrors": [{ "index": 0, "code": 20 }] });
        let Verdict::Settled { refused, .. } = verdict(&both, one, Effort::Apart) else {
            panic!("the other one is stored");
        };
        assert_eq!(refused.len(), 1);
    }
}
