//! Bulk commands: many operations each, within what a server takes at once.

use mongodb::bson::{Document, RawArrayBuf, RawDocumentBuf, cstr};

use super::{Refusal, Refused, Scope};
use crate::fold::{Insert, Update, Writes};

/// Operations in one command.
const OPERATIONS: usize = 1_000;
/// Bytes in one command. A server takes 16 MiB and a little more.
const BYTES: usize = 8 * 1024 * 1024;
/// Bytes in one document, or in what an update sets. A command with one such operation still fits.
const OPERATION_BYTES: usize = 16 * 1024 * 1024 - 16 * 1024;

/// One operation in a command.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) entry: usize,
    pub(super) scope: Scope,
    /// As the server wants it, but for `upsert`.
    body: RawDocumentBuf,
    /// Whether to create the document where it is not there.
    upsert: bool,
}

/// What a command does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Verb {
    Insert,
    Update,
}

/// A bulk command.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) collection: &'static str,
    pub(super) verb: Verb,
    pub(super) operations: Vec<Operation>,
}

/// The commands that perform `writes`, and what can't even be sent.
pub(super) fn commands(writes: &Writes) -> (Vec<Command>, Vec<Refused>) {
    let mut refused = Vec::new();
    let mut sendable = |operation: Result<Operation, Refused>| match operation {
        Ok(operation) => Some(operation),
        Err(cause) => {
            refused.push(cause);
            None
        }
    };
    let tickets: Vec<_> = writes
        .tickets
        .iter()
        .map(update)
        .filter_map(&mut sendable)
        .collect();
    let messages: Vec<_> = writes
        .messages
        .iter()
        .map(insert)
        .filter_map(&mut sendable)
        .collect();
    let numbered: Vec<_> = writes
        .numbered
        .iter()
        .map(update)
        .filter_map(&mut sendable)
        .collect();
    let events: Vec<_> = writes
        .events
        .iter()
        .map(insert)
        .filter_map(&mut sendable)
        .collect();
    let commands = [
        ("tickets", Verb::Update, tickets),
        ("messages", Verb::Insert, messages),
        ("messages", Verb::Update, numbered),
        ("events", Verb::Insert, events),
    ]
    .into_iter()
    .flat_map(|(collection, verb, operations)| {
        chunks(operations)
            .into_iter()
            .map(move |operations| Command {
                collection,
                verb,
                operations,
            })
    })
    .collect();
    (commands, refused)
}

impl Command {
    /// The collection that it writes.
    pub(super) fn collection(&self) -> &'static str {
        self.collection
    }

    /// The command as it is sent.
    pub(super) fn encode(&self, concern: &RawDocumentBuf) -> RawDocumentBuf {
        let mut list = RawArrayBuf::new();
        for operation in &self.operations {
            let mut body = operation.body.clone();
            if self.verb == Verb::Update {
                body.append(cstr!("upsert"), operation.upsert);
            }
            list.push(body);
        }
        let mut command = RawDocumentBuf::new();
        match self.verb {
            Verb::Insert => {
                command.append(cstr!("insert"), self.collection);
                command.append(cstr!("documents"), list);
            }
            Verb::Update => {
                command.append(cstr!("update"), self.collection);
                command.append(cstr!("updates"), list);
            }
        }
        command.append(cstr!("ordered"), false);
        command.append(cstr!("writeConcern"), concern.clone());
        command
    }

    /// The same in two.
    pub(super) fn halves(mut self) -> [Self; 2] {
        let second = self.operations.split_off(self.operations.len() / 2);
        let second = Self {
            operations: second,
            ..self
        };
        [self, second]
    }

    /// The operations at `places` once more, now as plain updates: their documents exist.
    pub(super) fn without_upsert(&self, places: &[usize]) -> Option<Self> {
        let operations: Vec<Operation> = places
            .iter()
            .filter_map(|&place| {
                let operation = self.operations.get(place)?;
                operation.upsert.then(|| Operation {
                    body: operation.body.clone(),
                    upsert: false,
                    ..*operation
                })
            })
            .collect();
        (!operations.is_empty()).then_some(Self {
            operations,
            ..*self
        })
    }
}

fn update(update: &Update) -> Result<Operation, Refused> {
    let part = |document| encoded(document, update.entry, update.scope);
    let mut change = update.more.clone();
    if !update.set.is_empty() {
        change.insert("$set", &update.set);
    }
    let mut body = RawDocumentBuf::new();
    body.append(cstr!("q"), part(&update.filter)?);
    body.append(cstr!("u"), part(&change)?);
    Ok(Operation {
        entry: update.entry,
        scope: update.scope,
        body,
        upsert: update.upsert,
    })
}

fn insert(insert: &Insert) -> Result<Operation, Refused> {
    Ok(Operation {
        entry: insert.entry,
        scope: Scope::Entry,
        body: encoded(&insert.document, insert.entry, Scope::Entry)?,
        upsert: false,
    })
}

fn encoded(document: &Document, entry: usize, scope: Scope) -> Result<RawDocumentBuf, Refused> {
    let refused = |why| Refused { entry, scope, why };
    let raw = RawDocumentBuf::try_from(document).map_err(|_| refused(Refusal::Unwritable))?;
    if raw.as_bytes().len() > OPERATION_BYTES {
        return Err(refused(Refusal::TooLarge));
    }
    Ok(raw)
}

fn chunks(operations: Vec<Operation>) -> Vec<Vec<Operation>> {
    let mut chunks: Vec<Vec<Operation>> = Vec::new();
    let mut bytes = BYTES;
    for operation in operations {
        let size = operation.body.as_bytes().len();
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < OPERATIONS && bytes + size <= BYTES => {
                bytes += size;
                chunk.push(operation);
            }
            _ => {
                bytes = size;
                chunks.push(vec![operation]);
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    fn inserts(count: usize, bytes: usize) -> Writes {
        Writes {
            messages: (0..count)
                .map(|entry| Insert {
                    entry,
                    document: doc! { "content": "x".repeat(bytes) },
                })
                .collect(),
            ..Writes::default()
        }
    }

    fn sizes(writes: &Writes) -> Vec<usize> {
        let (commands, refused) = commands(writes);
        assert_eq!(refused, []);
        commands
            .iter()
            .map(|command| command.operations.len())
            .collect()
    }

    #[test]
    fn commands_stay_within_count_and_size() {
        assert_eq!(sizes(&inserts(2_500, 1)), [1_000, 1_000, 500]);
        assert_eq!(sizes(&inserts(5, 3 * 1024 * 1024)), [2, 2, 1]);
    }

    #[test]
    fn what_no_command_can_hold_is_refused_alone() {
        let mut writes = inserts(3, 1);
        writes.messages[1]
            .document
            .insert("content", "x".repeat(OPERATION_BYTES));
        let (commands, refused) = commands(&writes);
        assert_eq!(commands[0].operations.len(), 2);
        let [cause] = refused[..] else {
            panic!("{refused:?}");
        };
        assert_eq!((cause.entry, cause.why), (1, Refusal::TooLarge));
    }

    #[test]
    fn a_collided_upsert_comes_again_as_a_plain_update() {
        let update = Update {
            entry: 4,
            scope: Scope::Ticket,
            filter: doc! { "_id": 1 },
            set: doc! { "seq": 2_i64 },
            more: Document::new(),
            upsert: true,
        };
        let (commands, _) = commands(&Writes {
            tickets: vec![update.clone(), update],
            ..Writes::default()
        });
        let again = commands[0].without_upsert(&[1]).unwrap();
        let sent = Document::try_from(again.encode(&RawDocumentBuf::new())).unwrap();
        let updates = sent.get_array("updates").unwrap();
        assert_eq!(updates.len(), 1);
        assert_eq!(updates[0].as_document().unwrap()["upsert"], false.into());
        assert!(again.without_upsert(&[0]).is_none());
    }
}
