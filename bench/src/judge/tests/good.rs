//! A run in which all went well.

use ticket_shared::domain::{Counts, Status};

use super::*;
use crate::history::{Acked, Client, Facts, Joined, Position, Record, Rest};

pub(super) const MESSAGES: u32 = 5;

pub(super) const FACTS: Facts = Facts {
    seq: 6,
    messages: 5,
    status: Status::Open,
    assigned: false,
};

pub(super) fn key(number: u32) -> Key {
    Key { client: 1, number }
}

/// The message with this number, which has the place after it: the first is the ticket's creation.
pub(super) fn heard(number: u32) -> Heard {
    let mut bytes = [1; 12];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    Heard {
        seq: u64::from(number) + 1,
        id: Id::from_bytes(bytes),
        key: Some(key(number)),
        internal: false,
    }
}

pub(super) fn record(what: What) -> Record {
    Record {
        at: 0,
        connection: 1,
        gateway: 0,
        what,
    }
}

pub(super) fn position(seq: u64, epoch: &str) -> Position {
    Position {
        seq,
        epoch: epoch.into(),
    }
}

pub(super) fn joined(since: Option<u64>, numbers: std::ops::Range<u32>, seq: u64) -> Record {
    record(What::Joined(Joined {
        ticket: 0,
        recovered: since.is_some(),
        since: since.map(|seq| position(seq, "e")),
        messages: numbers.map(heard).collect(),
        now: position(seq, "e"),
    }))
}

pub(super) fn event(number: u32) -> Record {
    let message = heard(number);
    record(What::Event {
        ticket: 0,
        seq: message.seq,
        prev: message.seq - 1,
        message: Some(message),
    })
}

pub(super) fn acked(number: u32) -> Acked {
    let Heard { seq, id, .. } = heard(number);
    Acked {
        ticket: 0,
        key: key(number),
        id,
        seq,
        duplicate: false,
        refused: 0,
        unknown: 0,
        again: false,
    }
}

pub(super) fn client(number: u32, side: UserType, records: Vec<Record>) -> Client {
    Client {
        number,
        side,
        tickets: vec![0],
        records,
    }
}

/// A sender, a reader that heard everything live, and one that was away for a while.
pub(super) fn good() -> History {
    let mut sender = vec![joined(None, 1..1, 1)];
    for number in 1..=MESSAGES {
        sender.push(record(What::Sent {
            ticket: 0,
            key: key(number),
        }));
        sender.push(event(number));
        sender.push(record(What::Acked(acked(number))));
    }
    let mut live = vec![joined(None, 1..1, 1)];
    live.extend((1..=MESSAGES).map(event));
    let mut away = vec![joined(None, 1..2, 2), event(2)];
    away.extend([
        record(What::Disconnected),
        record(What::Connected),
        joined(Some(3), 3..5, 5),
        event(5),
    ]);
    let messages: Vec<Heard> = (1..=MESSAGES).map(heard).collect();
    let facts = FACTS;
    let shown = Shown {
        facts: Some(facts),
        listed: Some(facts),
        messages: messages.clone(),
        above: 0,
    };
    let mut counts = Counts::default();
    counts.add(Status::Open, false, 1);
    let rest = Rest {
        tickets: vec![shown],
        counts: Some(counts),
    };
    History {
        clients: vec![
            client(1, UserType::User, sender),
            client(2, UserType::Agent, live),
            client(3, UserType::User, away),
        ],
        epochs: vec!["e".into()],
        stored: vec![Stored {
            facts: Some(facts),
            messages,
            changes: vec![1],
        }],
        rest: vec![rest.clone(), rest],
    }
}
