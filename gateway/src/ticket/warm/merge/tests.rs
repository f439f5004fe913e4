use ticket_shared::{
    domain::{Priority, Status, UserType},
    time::Time,
};

use super::*;

fn id(number: u8) -> Id {
    Id::from_bytes([number; 12])
}

fn message(seq: u64, number: u8) -> Message {
    Message {
        id: id(number),
        ticket_id: id(255),
        seq,
        sender_id: "u1".into(),
        sender_type: UserType::User,
        sender_name: "سارة".into(),
        content: format!("m{seq}"),
        internal: false,
        client_message_id: Some(format!("c{number}")),
        created_at: Time(1_000),
    }
}

fn head() -> Head {
    Head {
        subject: "s".into(),
        status: Status::Open,
        priority: Priority::Normal,
        tags: "[]".into(),
        agent_id: None,
        agent_name: None,
        closed_at: None,
    }
}

fn base(user: &str) -> Base {
    Base {
        description: String::new(),
        user_id: Some(user.into()),
        user_name: None,
        created_at: 1,
        fingerprint: None,
    }
}

fn numbers(seq: u64) -> Numbers {
    Numbers {
        seq,
        public_seq: seq,
        message_count: seq - 1,
        last: None,
        updated_at: 5,
        public_at: 5,
    }
}

fn stored(seq: u64) -> Stored {
    Stored {
        base: base("stored"),
        head: head(),
        numbers: numbers(seq),
        numbered: true,
    }
}

/// A log of entries that Redis accepted.
fn with_entries(seqs: impl IntoIterator<Item = u64>) -> Salvage {
    let frame_of = |entry: &Entry| serde_json::to_vec(entry).unwrap().into();
    let head = head();
    let frame = Frame {
        id: id(255),
        head: &head,
        count: 1,
    };
    let entries = seqs.into_iter().map(|seq| {
        let change = if seq == 1 {
            Change::Created { by: None }
        } else {
            Change::Message(into_new(message(seq, u8::try_from(seq).unwrap())))
        };
        let mut entry = frame.entry(seq, seq - 1, 9, change);
        entry.epoch = "e".into();
        entry.base = (seq == 1).then(|| base("created"));
        let frame = frame_of(&entry);
        (seq, Kept { entry, frame })
    });
    Salvage {
        entries: entries.collect(),
        ..Salvage::default()
    }
}

fn with_state(mut salvage: Salvage, seq: u64, persisted: u64) -> Salvage {
    salvage.state = Some(crate::ticket::view::View {
        base: base("state"),
        head: head(),
        numbers: numbers(seq),
        persisted,
        floor: 0,
        adopted: 0,
        epoch: String::new(),
        entries: Vec::new(),
    });
    salvage
}

fn seqs(whole: &Whole) -> Vec<u64> {
    whole.log.iter().map(|line| line.entry().seq).collect()
}

#[test]
fn a_cold_ticket_has_an_entry_for_every_number() {
    let messages = vec![message(2, 2), message(5, 5)];
    let whole = merge(
        id(255),
        Salvage::default(),
        Some(&stored(6)),
        messages,
        vec![(id(2), 2)],
        &HashSet::new(),
    );
    let whole = whole.unwrap();
    assert_eq!(seqs(&whole), [1, 2, 3, 4, 5, 6]);
    assert_eq!((whole.persisted, whole.floor, whole.sent.len()), (6, 0, 1));
    assert_eq!(whole.ahead, []);
    let said = whole
        .log
        .iter()
        .filter(|line| line.entry().message().is_some());
    assert_eq!(said.count(), 2);
}

#[test]
fn a_log_without_its_state_is_the_ticket_where_mongodb_has_less() {
    let whole = merge(
        id(255),
        with_entries(1..=4),
        None,
        Vec::new(),
        Vec::new(),
        &HashSet::new(),
    )
    .unwrap();
    assert_eq!(
        (whole.numbers.seq, whole.persisted, whole.sent.len()),
        (4, 0, 3)
    );
    assert_eq!(whole.base.user_id.as_deref(), Some("created"));
    let whole = merge(
        id(255),
        with_entries(3..=4),
        Some(&stored(2)),
        vec![message(2, 2)],
        vec![(id(2), 2)],
        &HashSet::new(),
    );
    let whole = whole.unwrap();
    assert_eq!(seqs(&whole), [1, 2, 3, 4]);
    assert_eq!((whole.numbers.seq, whole.persisted), (4, 2));
}

#[test]
fn what_is_nowhere_is_missing() {
    let torn = || with_state(with_entries(5..=6), 6, 2);
    let messages = vec![message(2, 2)];
    assert_eq!(open(&torn(), Some(&stored(2)), &messages), [3, 4]);
    // That the ticket's document is of a newer entry says nothing of those before.
    assert_eq!(open(&torn(), Some(&stored(6)), &messages), [3, 4]);
    assert!(
        merge(
            id(255),
            torn(),
            Some(&stored(2)),
            messages.clone(),
            Vec::new(),
            &HashSet::from([3]),
        )
        .is_none()
    );
    let found = with_state(with_entries(3..=6), 6, 2);
    assert!(open(&found, Some(&stored(2)), &messages).is_empty());
    let whole = merge(
        id(255),
        found,
        Some(&stored(2)),
        messages,
        Vec::new(),
        &HashSet::new(),
    )
    .unwrap();
    assert_eq!(seqs(&whole), [1, 2, 3, 4, 5, 6]);
    assert_eq!(whole.base.user_id.as_deref(), Some("state"));
}

#[test]
fn numbers_go_on_above_what_mongodb_has() {
    let behind = with_state(with_entries(1..=4), 4, 2);
    let messages = (2..=7).map(|seq| message(seq, u8::try_from(seq).unwrap()));
    let whole = merge(
        id(255),
        behind,
        Some(&stored(7)),
        messages.collect(),
        Vec::new(),
        &HashSet::new(),
    );
    let whole = whole.unwrap();
    assert_eq!(whole.numbers.seq, 7);
    assert_eq!(seqs(&whole), [1, 2, 3, 4, 5, 6, 7]);
    // 3 and 4 may still be owed; the rest is known to be there.
    assert_eq!((whole.persisted, whole.ahead), (2, vec![(5, 7)]));
}

#[test]
fn two_of_one_number_are_left_to_mongodb() {
    let messages = vec![message(2, 2), message(3, 3), message(3, 4), message(4, 5)];
    let whole = merge(
        id(255),
        Salvage::default(),
        Some(&stored(4)),
        messages,
        Vec::new(),
        &HashSet::new(),
    );
    let whole = whole.unwrap();
    assert_eq!((whole.floor, seqs(&whole)), (3, vec![4]));
}
