//! The stored form is a contract with entries that are already in Redis: these texts must stay readable.

use super::*;
use crate::domain::Person;

const MESSAGE: &str = r#"{"v":1,"t":"0123456789abcdef01234567","s":7,"p":5,"a":1763861116007,"e":"a1b2","n":4,"c":{"message":{"id":"ffffffffffffffffffffffff","senderId":"u1","senderType":"user","senderName":"سارة","content":"مرحبا 👋","clientMessageId":"c-1"}},"h":{"subject":"s","status":"open","priority":"normal","tags":"[\"a\"]"}}"#;

const STATUS: &str = r#"{"v":1,"t":"0123456789abcdef01234567","s":8,"p":7,"a":1763861116008,"e":"a1b2","n":4,"c":{"status":{"to":"closed","by":{"id":"a1","name":"Omar"}}},"h":{"subject":"s","status":"closed","priority":"normal","tags":"[]","agentId":"a1","agentName":"Omar","closedAt":"1763861116008"},"l":{"content":"hi","senderName":"سارة","senderType":"user","at":1763861116007},"fs":"open","x":{"description":"","userId":"u1","userName":"سارة","createdAt":1763861110000}}"#;

#[test]
fn a_message_is_read_and_is_its_own_last_message() {
    let entry = Entry::decode(MESSAGE.as_bytes()).unwrap();
    assert_eq!(entry.covers(), (7, 7));
    assert!(!entry.internal());
    let message = entry.message().unwrap();
    assert_eq!(
        (message.seq, message.content.as_str(), message.created_at),
        (7, "مرحبا 👋", Time(1_763_861_116_007))
    );
    let last = entry.last().unwrap();
    assert_eq!(
        (last.content.as_str(), last.at),
        ("مرحبا 👋", 1_763_861_116_007)
    );
    assert_eq!(entry.head.tags(), ["a"]);
    assert_eq!(serde_json::to_string(&entry).unwrap(), MESSAGE);
}

#[test]
fn a_status_change_carries_the_whole_ticket() {
    let entry = Entry::decode(STATUS.as_bytes()).unwrap();
    let ticket = entry.ticket().unwrap();
    assert_eq!(ticket.status, Status::Closed);
    assert_eq!(ticket.closed_at, Some(Time(1_763_861_116_008)));
    assert_eq!(ticket.assigned_agent.unwrap().agent_name, "Omar");
    assert_eq!(ticket.last_message.unwrap().content, "hi");
    assert_eq!(serde_json::to_string(&entry).unwrap(), STATUS);
}

#[test]
fn unknown_fields_are_ignored_and_newer_formats_are_told_apart() {
    let more = MESSAGE.replacen("\"v\":1", "\"v\":1,\"later\":[1]", 1);
    assert!(Entry::decode(more.as_bytes()).is_ok());
    let newer = MESSAGE.replacen("\"v\":1", "\"v\":2", 1);
    assert_eq!(
        Entry::decode(newer.as_bytes()),
        Err(DecodeError::Version(2))
    );
    assert_eq!(
        Entry::decode(br#"{"v":3,"other":1}"#),
        Err(DecodeError::Version(3))
    );
}

#[test]
fn what_is_no_entry_is_refused_without_quoting_it() {
    let error = Entry::decode(
        MESSAGE
            .replace("\"s\":7", "\"s\":\"secret words\"")
            .as_bytes(),
    )
    .unwrap_err();
    assert!(matches!(error, DecodeError::Malformed(_)));
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn signals_survive_the_channel() {
    let left = Signal::Left {
        person: Person {
            user_id: "u1".into(),
            user_type: UserType::User,
            user_name: "سارة".into(),
        },
        reason: LeftReason::Timeout,
    };
    assert_eq!(
        Frame::decode(left.encode().unwrap().as_bytes()),
        Ok(Frame::Signal(left.clone()))
    );
    assert!(Frame::decode(b"").is_err());
    let payload = format!(
        "E{MESSAGE}\nE{MESSAGE}\nnonsense\n{}",
        left.encode().unwrap()
    );
    let all: Vec<_> = Frame::decode_all(payload.as_bytes()).collect();
    assert!(matches!(
        all[..],
        [
            Ok(Frame::Entry(_)),
            Ok(Frame::Entry(_)),
            Err(_),
            Ok(Frame::Signal(_))
        ]
    ));
    assert!(matches!(
        Frame::decode(format!("E{MESSAGE}").as_bytes()),
        Ok(Frame::Entry(_))
    ));
}
