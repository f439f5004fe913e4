//! Documents of every kind that has been seen, and some that only a bad day would write.

use mongodb::bson::{Bson, DateTime, Document, RawDocumentBuf, Timestamp, doc, oid::ObjectId};

use ticket_shared::domain::{Priority, Status};

use super::*;

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

/// An id that was made in the second 1,700,000,000.
fn oid() -> ObjectId {
    ObjectId::parse_str("6553f100aaaaaaaaaaaaaaaa").unwrap()
}

fn read(document: &Document) -> Stored {
    let document = raw(document);
    stored(id(&document).unwrap(), &document)
}

fn said(document: &Document) -> Message {
    message(Id::from_bytes([7; 12]), &raw(document)).unwrap()
}

#[test]
fn a_ticket_of_the_worker_is_read_in_full() {
    let at = DateTime::from_millis(1_700_000_000_123);
    let stored = read(&doc! {
        "_id": oid(), "subject": "s", "description": "d", "status": "closed", "priority": "high",
        "tags": ["a", "b"], "userId": "u1", "userName": "U",
        "assignedAgent": { "agentId": "a1", "agentName": "A" },
        MARK: 1, "seq": 9_i64, "publicSeq": 8_i64, "messageCount": 3_i64,
        "lastMessage": { "content": "hi", "senderName": "U", "senderType": "agent", "createdAt": at },
        "createdAt": at, "updatedAt": at, "publicUpdatedAt": DateTime::from_millis(1_700_000_000_023),
        "closedAt": at, "fingerprint": "f",
    });
    let ms = 1_700_000_000_123;
    assert_eq!(
        stored,
        Stored {
            base: Base {
                description: "d".into(),
                user_id: Some("u1".into()),
                user_name: Some("U".into()),
                created_at: ms,
                fingerprint: Some("f".into()),
            },
            head: Head {
                subject: "s".into(),
                status: Status::Closed,
                priority: Priority::High,
                tags: r#"["a","b"]"#.into(),
                agent_id: Some("a1".into()),
                agent_name: Some("A".into()),
                closed_at: Some(ms.to_string()),
            },
            numbers: Numbers {
                seq: 9,
                message_count: 3,
                last: Some(Last {
                    content: "hi".into(),
                    sender_name: "U".into(),
                    sender_type: UserType::Agent,
                    at: ms,
                }),
                updated_at: ms,
                public_seq: 8,
                public_at: ms - 100,
            },
            numbered: true,
        }
    );
}

#[test]
fn a_ticket_of_the_former_server_gets_what_it_lacks() {
    let stored = read(
        &doc! { "_id": oid().to_hex(), "title": "t", "status": "in-progress", "userId": oid() },
    );
    assert_eq!(stored.head.subject, "t");
    assert_eq!(stored.head.status, Status::Open);
    assert_eq!(stored.head.priority, Priority::Normal);
    assert_eq!(stored.head.tags, "[]");
    assert_eq!(stored.base.user_id, Some(oid().to_hex()));
    assert_eq!(stored.base.created_at, 1_700_000_000_000);
    assert_eq!(stored.numbers.updated_at, 1_700_000_000_000);
    assert!(!stored.numbered);
    assert_eq!((stored.numbers.seq, stored.numbers.public_seq), (0, 0));
}

#[test]
fn an_agent_is_what_has_an_id() {
    let agent = |value: Bson| {
        let head = read(&doc! { "_id": oid(), "assignedAgent": value }).head;
        head.agent_id.zip(head.agent_name)
    };
    let some = |id: &str, name: &str| Some((id.to_owned(), name.to_owned()));
    let hex = oid().to_hex();
    for (value, expected) in [
        (Bson::Null, None),
        (doc! {}.into(), None),
        ("".into(), None),
        (true.into(), None),
        (vec!["a1"].into(), None),
        (doc! { "agentId": null }.into(), None),
        (doc! { "agentName": "A" }.into(), None),
        (doc! { "agentId": "", "id": "x" }.into(), None),
        (doc! { "agentId": "a1" }.into(), some("a1", "")),
        (
            doc! { "agentId": null, "id": "a1", "name": "A" }.into(),
            some("a1", "A"),
        ),
        (doc! { "_id": oid(), "name": 5 }.into(), some(&hex, "")),
        ("a1".into(), some("a1", "")),
        (oid().into(), some(&hex, "")),
        (17.into(), some("17", "")),
    ] {
        assert_eq!(agent(value.clone()), expected, "{value}");
    }
}

#[test]
fn times_come_in_many_forms_and_can_always_be_shown() {
    let created = |value: Bson| {
        read(&doc! { "_id": oid(), "createdAt": value })
            .base
            .created_at
    };
    for (value, expected) in [
        (Bson::from("2025-11-23T01:25:16.007Z"), 1_763_861_116_007),
        ("2025-11-23T04:25:16.007+03:00".into(), 1_763_861_116_007),
        (1_763_861_116_007_i64.into(), 1_763_861_116_007),
        (1_763_861_116_007.0.into(), 1_763_861_116_007),
        (
            Timestamp {
                time: 5,
                increment: 1,
            }
            .into(),
            5_000,
        ),
        ("2025-11-23T01:25:16.007".into(), 1_763_861_116_007),
        (1_763_861_116.into(), 1_763_861_116_000),
        (1_763_861_116.5.into(), 1_763_861_116_500),
        ("1763861116007".into(), 1_763_861_116_007),
        (1_763_861_116_007_000_i64.into(), 1_763_861_116_007),
        ("yesterday".into(), 1_700_000_000_000),
        (f64::NAN.into(), 1_700_000_000_000),
        (0.into(), 1_700_000_000_000),
        (doc! {}.into(), 1_700_000_000_000),
    ] {
        assert_eq!(created(value.clone()), expected, "{value}");
    }
    for beyond in [i64::MIN, i64::MAX] {
        let shown = Time(created(DateTime::from_millis(beyond).into())).to_string();
        assert!(shown.contains('T'), "{shown}");
    }
}

#[test]
fn numbers_come_in_every_width() {
    let seq = |value: Bson| {
        let stored = read(&doc! { "_id": oid(), "seq": value, MARK: 1 });
        assert_eq!(stored.numbered, stored.numbers.seq > 0);
        stored.numbers.seq
    };
    for (value, expected) in [
        (Bson::Int32(7), 7),
        (Bson::Int64(1 << 40), 1 << 40),
        (Bson::Double(7.0), 7),
        (Bson::Int32(-7), 0),
        (Bson::Double(-7.0), 0),
        (Bson::Double(f64::NAN), 0),
        (Bson::Double(f64::INFINITY), 0),
        (Bson::String("7".into()), 0),
        (Bson::Null, 0),
    ] {
        assert_eq!(seq(value.clone()), expected, "{value}");
    }
}

#[test]
fn odd_fields_get_their_defaults() {
    let stored = read(&doc! {
        "_id": oid(), "subject": 5, "description": ["d"], "status": 1, "priority": "medium",
        "tags": ["a", 5, null, "b"], "userId": {}, "userName": 5, "lastMessage": "hi", "closedAt": false,
    });
    assert_eq!(stored.head.subject, "");
    assert_eq!(stored.head.tags(), ["a", "5", "b"]);
    assert_eq!(stored.head.closed_at, None);
    assert_eq!((stored.base.user_id, stored.base.user_name), (None, None));
    assert_eq!(stored.numbers.last, None);
    let long = read(&doc! {
        "_id": oid(), "tags": "vip", MARK: 1, "seq": 2,
        "lastMessage": { "content": "ä".repeat(300) },
    });
    assert_eq!(long.head.tags(), ["vip"]);
    let last = long.numbers.last.unwrap();
    assert_eq!(last.content.chars().count(), limits::PREVIEW);
    assert_eq!(last.at, 1_700_000_000_000);
}

#[test]
fn a_document_that_nobody_could_address_is_no_document() {
    for id in [
        Bson::Null,
        5.into(),
        "not hexadecimal".into(),
        doc! {}.into(),
    ] {
        assert_eq!(super::id(&raw(&doc! { "_id": id.clone() })), None, "{id}");
        // A message needs no address, only an id that stays.
        let found = message(Id::from_bytes([7; 12]), &raw(&doc! { "_id": &id }));
        assert_eq!(found.is_some(), id != Bson::Null);
    }
    assert_eq!(id(&raw(&doc! {})), None);
    assert_eq!(
        ticket_of(&raw(&doc! { "ticketId": oid().to_hex() })),
        ticket_of(&raw(&doc! { "ticketId": oid() }))
    );
    assert_eq!(ticket_of(&raw(&doc! { "ticketId": 5 })), None);
}

#[test]
fn bytes_that_are_no_bson_are_absent_fields() {
    let mut bytes = raw(&doc! { "_id": oid(), "subject": "s", "status": "closed" }).into_bytes();
    // Turns the type of `status` into one that does not exist.
    let at = bytes
        .windows(7)
        .position(|part| part == b"status\0")
        .unwrap();
    bytes[at - 1] = 0x66;
    let broken = RawDocumentBuf::from_bytes(bytes).unwrap();
    let head = stored(id(&broken).unwrap(), &broken).head;
    assert_eq!((head.subject.as_str(), head.status), ("s", Status::Open));
}

#[test]
fn what_another_server_counted_is_no_log() {
    let foreign = doc! {
        "_id": oid(), "seq": 1_042, "messageCount": 9, "lastMessage": { "content": "aside" },
    };
    let stored = read(&foreign);
    assert!(!stored.numbered);
    assert_eq!((stored.numbers.seq, stored.numbers.message_count), (0, 0));
    assert_eq!(stored.numbers.last, None);
    let earlier = read(&doc! {
        "_id": oid(), "seq": 4_i64, "publicSeq": 4_i64, "publicUpdatedAt": DateTime::MIN,
    });
    assert!(earlier.numbered);
    assert_eq!(said(&doc! { "_id": oid(), "seq": 3 }).seq, 0);
    let ticket = Id::from_bytes([7; 12]);
    for mark in ["deletedAt", "isDeleted"] {
        assert_eq!(message(ticket, &raw(&doc! { "_id": oid(), mark: 5 })), None);
    }
}

#[test]
fn words_are_read_whatever_their_case() {
    let stored =
        read(&doc! { "_id": oid(), "status": "Closed", "priority": "HIGH", "tags": [oid()] });
    assert_eq!(stored.head.status, Status::Closed);
    assert_eq!(stored.head.priority, Priority::High);
    assert_eq!(stored.head.tags(), [oid().to_hex()]);
    let note = said(&doc! { "_id": oid(), "senderType": "ADMIN", "isInternalNote": 1 });
    assert_eq!((note.sender_type, note.internal), (UserType::Agent, true));
}

#[test]
fn two_documents_of_one_ticket_are_one() {
    let texts = raw(&doc! { "_id": oid().to_hex(), "status": "pending", "userId": "u1" });
    let own = raw(&doc! { "_id": oid(), "status": "closed" });
    for found in [[texts.clone(), own.clone()], [own, texts]] {
        let merged = one(&found).unwrap();
        let stored = stored(id(&merged).unwrap(), &merged);
        assert_eq!(stored.head.status, Status::Closed);
        assert_eq!(stored.base.user_id.as_deref(), Some("u1"));
    }
    assert_eq!(one(&[]), None);
}

#[test]
fn messages_of_the_former_server_are_read() {
    let old = said(&doc! { "_id": oid(), "senderId": oid(), "content": 5 });
    assert_eq!(old.sender_type, UserType::User);
    assert_eq!(old.sender_id, oid().to_hex());
    assert_eq!(
        (old.content.as_str(), old.seq, old.internal),
        ("", 0, false)
    );
    assert_eq!(old.created_at, Time(1_700_000_000_000));
    assert_eq!(old.client_message_id, None);
}

fn at(id: u8, at: i64, seq: u64) -> Message {
    let oid = ObjectId::from_bytes([id; 12]);
    said(&doc! {
        "_id": oid, "createdAt": DateTime::from_millis(at), "seq": i64::try_from(seq).unwrap(),
        MARK: i32::from(seq > 0),
    })
}

fn numbers(messages: Vec<Message>, upto: Option<u64>) -> Vec<(u8, u64)> {
    number(messages, upto)
        .iter()
        .map(|message| (message.id.bytes()[0], message.seq))
        .collect()
}

#[test]
fn numbering_goes_by_time_and_id_and_is_the_same_half_way_through() {
    let whole = vec![(3, 2), (1, 3), (2, 4), (4, 5)];
    let fresh = vec![at(4, 9, 0), at(2, 5, 0), at(1, 5, 0), at(3, 1, 0)];
    assert_eq!(numbers(fresh, None), whole);
    let half = vec![
        at(4, 9, 0),
        at(2, 5, 4),
        at(1, 5, 0),
        at(3, 1, 2),
        at(9, 99, 6),
    ];
    assert_eq!(numbers(half, Some(5)), whole);
    // What the former server still wrote, after the numbering, is left out rather than given a live number.
    let late = vec![
        at(4, 9, 5),
        at(2, 5, 4),
        at(1, 5, 3),
        at(3, 1, 2),
        at(8, 10, 0),
    ];
    assert_eq!(numbers(late, Some(5)), whole);
    assert_eq!(numbers(vec![], None), []);
}
