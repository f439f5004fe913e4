//! The documents of each kind of entry, and the property that everything rests on: order and repetition of
//! batches do not matter.

use std::collections::BTreeMap;

use mongodb::bson::Document;
use proptest::prelude::*;
use ticket_shared::domain::Status;

use super::*;
use crate::sample::{Log, id};

fn folded(log: &Log) -> Writes {
    fold(&log.entries.iter().collect::<Vec<_>>())
}

#[test]
fn a_creation_sets_what_never_changes_and_what_does() {
    let log = Log::opened(id(1, 1));
    let writes = folded(&log);
    let [base, state] = &writes.tickets[..] else {
        panic!("{:?}", writes.tickets);
    };
    assert_eq!(base.set["userName"], "سارة".into());
    assert_eq!(
        base.set["createdAt"],
        DateTime::from_millis(1_763_861_000_000).into()
    );
    assert!(!base.set.contains_key("fingerprint") && base.upsert);
    assert_eq!(
        state.filter,
        doc! { "_id": object_id(log.ticket), "seq": { "$not": { "$gte": 1_i64 } } }
    );
    assert_eq!(state.set.get_array("tags").unwrap().len(), 2);
    assert!(state.set["assignedAgent"] == Bson::Null && state.set["lastMessage"] == Bson::Null);
    let event = &writes.events[0].document;
    assert_eq!(event["_id"], format!("{}:1", log.ticket).as_str().into());
    assert_eq!(event["kind"], "created".into());
}

#[test]
fn only_the_newest_entry_of_a_ticket_sets_its_state() {
    let mut log = Log::opened(id(1, 1));
    log.message("hello", false).message("aside", true);
    log.entries.swap(0, 2);
    let writes = folded(&log);
    let states: Vec<&Update> = writes
        .tickets
        .iter()
        .filter(|update| update.scope == Scope::Ticket)
        .collect();
    assert_eq!(states.len(), 1);
    assert_eq!(states[0].entry, 0);
    let set = &states[0].set;
    assert_eq!(set["seq"], 3_i64.into());
    assert_eq!(set["publicSeq"], 2_i64.into());
    assert_eq!(set["messageCount"], 1_i64.into());
    let last = set.get_document("lastMessage").unwrap();
    assert_eq!(last["content"], "hello".into());
}

#[test]
fn changes_say_from_what_to_what_and_by_whom() {
    let mut log = Log::new(id(1, 1));
    log.status(Status::Closed)
        .assigned(Some("Mona"))
        .assigned(None);
    let writes = folded(&log);
    let events: Vec<&Document> = writes.events.iter().map(|event| &event.document).collect();
    assert_eq!(events[0]["from"], "open".into());
    assert_eq!(events[0]["to"], "closed".into());
    assert!(events[1]["from"] == Bson::Null);
    assert_eq!(
        events[2]["from"],
        doc! { "agentId": "mona", "agentName": "Mona" }.into()
    );
    assert!(events[2]["to"] == Bson::Null);
    assert_eq!(events[2]["by"], doc! { "id": "a1", "name": "Omar" }.into());
    assert!(writes.messages.is_empty());
}

#[test]
fn an_adoption_numbers_messages_that_are_there() {
    let mut log = Log::new(id(1, 1));
    log.adopted(&[id(9, 1), id(9, 2)]);
    let writes = folded(&log);
    assert_eq!(writes.numbered.len(), 2);
    assert!(writes.numbered.iter().all(|update| !update.upsert));
    assert_eq!(
        writes.numbered[1].set,
        doc! { "seq": 3_i64, "ticketId": object_id(log.ticket), MARK: LOG_VERSION }
    );
    assert_eq!(writes.tickets[0].set["seq"], 3_i64.into());
}

/// A database, as far as these writes go.
#[derive(Clone, PartialEq, Debug, Default)]
struct Model {
    documents: BTreeMap<String, BTreeMap<String, Bson>>,
}

impl Model {
    fn perform(&mut self, writes: &Writes) {
        for insert in writes.messages.iter().chain(&writes.events) {
            let document = insert.document.clone().into_iter().collect();
            let key = insert.document.get("_id").unwrap().to_string();
            self.documents.entry(key).or_insert(document);
        }
        for update in writes.tickets.iter().chain(&writes.numbered) {
            let key = update.filter.get("_id").unwrap().to_string();
            let there = self.documents.get(&key);
            if !there.map_or(update.upsert, |document| matches(&update.filter, document)) {
                continue;
            }
            let document = self.documents.entry(key).or_default();
            document.extend(update.set.clone());
        }
    }
}

/// Whether a document meets the conditions that updates here have.
fn matches(filter: &Document, document: &BTreeMap<String, Bson>) -> bool {
    let Ok(condition) = filter.get_document("seq") else {
        return true;
    };
    let at_least = condition
        .get_document("$not")
        .unwrap()
        .get_i64("$gte")
        .unwrap();
    document
        .get("seq")
        .is_none_or(|seq| seq.as_i64().unwrap() < at_least)
}

/// A log with `steps` chosen by number.
fn log(ticket: u32, steps: &[u8]) -> Log {
    let mut log = Log::new(id(ticket, 1));
    if steps.first().is_some_and(|step| step % 2 == 1) {
        log.adopted(&[id(9, ticket), id(10, ticket)]);
    } else {
        log.created();
    }
    for (n, step) in steps.iter().enumerate() {
        match step % 7 {
            0 | 1 => log.message(&format!("message {n}"), false),
            2 => log.message("aside", true),
            3 => log.status(Status::Closed),
            4 => log.status(Status::Pending),
            5 => log.assigned(Some("Mona")),
            _ => log.assigned(None),
        };
    }
    log
}

/// The former server's messages are there from the beginning.
fn model() -> Model {
    let mut model = Model::default();
    for group in [9, 10] {
        for ticket in [1, 2] {
            let key = Bson::from(object_id(id(group, ticket))).to_string();
            model.documents.insert(key, BTreeMap::new());
        }
    }
    model
}

proptest! {
    #[test]
    fn order_and_repetition_do_not_matter(
        one in prop::collection::vec(any::<u8>(), 1..12),
        two in prop::collection::vec(any::<u8>(), 0..12),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        cuts in prop::collection::vec(1_usize..9, 1..20),
        shuffled in any::<u64>(),
    ) {
        let (one, two) = (log(1, &one), log(2, &two));
        let entries: Vec<&Entry> = one.entries.iter().chain(&two.entries).collect();

        let mut once = model();
        for entry in &entries {
            once.perform(&fold(&[entry]));
        }

        // Every entry at least once, in any order, some again, cut into batches of any size.
        let mut chaos: Vec<&Entry> = entries.clone();
        chaos.extend(picks.iter().map(|pick| *pick.get(&entries)));
        chaos.sort_by_key(|entry| {
            (entry.seq ^ shuffled).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ u64::from(entry.ticket_id.bytes()[3]))
        });
        let mut other = model();
        let mut rest = &chaos[..];
        for cut in cuts.iter().cycle() {
            let (batch, later) = rest.split_at((*cut).min(rest.len()));
            let apart = cut % 2 == 0;
            other.perform(&if apart { fold_apart(batch) } else { fold(batch) });
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&once, &other);

        for log in [&one, &two] {
            let key = Bson::from(object_id(log.ticket)).to_string();
            let stored = &once.documents[&key];
            prop_assert_eq!(stored["seq"].as_i64(), Some(number(log.seq())));
        }
    }
}
