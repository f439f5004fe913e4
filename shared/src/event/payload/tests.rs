//! Every field that is wrong is named, and nothing of the input comes back.

use serde_json::{Map, Value, json};

use super::*;
use crate::domain::limits;

const TICKET: &str = "0123456789abcdef01234567";

fn send(change: impl FnOnce(&mut Map<String, Value>)) -> Result<SendMessage, Invalid> {
    let mut payload = json!({
        "ticketId": TICKET, "senderId": "u1", "senderType": "user", "senderName": "سارة", "content": "مرحبا",
    });
    change(payload.as_object_mut().unwrap());
    SendMessage::try_from(payload)
}

#[test]
fn every_field_that_is_wrong_is_named() {
    for field in [
        "ticketId",
        "senderId",
        "senderType",
        "senderName",
        "content",
    ] {
        assert_eq!(send(|p| drop(p.remove(field))).unwrap_err().field, field);
        assert_eq!(
            send(|p| drop(p.insert(field.into(), json!({"$gt": ""}))))
                .unwrap_err()
                .field,
            field
        );
        assert_eq!(
            send(|p| drop(p.insert(field.into(), json!(7))))
                .unwrap_err()
                .field,
            field
        );
        assert_eq!(
            send(|p| drop(p.insert(field.into(), json!("  "))))
                .unwrap_err()
                .field,
            field
        );
    }
    assert_eq!(
        send(|p| drop(p.insert("internal".into(), json!("yes"))))
            .unwrap_err()
            .field,
        "internal"
    );
    assert_eq!(
        SendMessage::try_from(json!([1])).unwrap_err().field,
        "payload"
    );
}

#[test]
fn limits_count_characters_after_trimming() {
    let full = "ع".repeat(limits::CONTENT);
    let padded = format!("  {full}\n");
    assert_eq!(
        send(|p| drop(p.insert("content".into(), json!(padded))))
            .unwrap()
            .content,
        full
    );
    let over = format!("{full}x");
    assert_eq!(
        send(|p| drop(p.insert("content".into(), json!(over))))
            .unwrap_err()
            .field,
        "content"
    );
    // A right-to-left mark is part of the text, not white space.
    let marked = "\u{200f}مرحبا\u{200f}";
    assert_eq!(
        send(|p| drop(p.insert("content".into(), json!(marked))))
            .unwrap()
            .content,
        marked
    );
}

#[test]
fn an_error_never_repeats_the_input() {
    let error = send(|p| drop(p.insert("senderType".into(), json!("<script>")))).unwrap_err();
    assert!(!error.to_string().contains("script"), "{error}");
}

#[test]
fn a_ticket_may_be_taken_from_everybody_but_not_by_accident() {
    let base = json!({"ticketId": TICKET, "assignedBy": "a1", "assignedByName": "Omar"});
    assert_eq!(
        AssignAgent::try_from(base.clone()).unwrap_err().field,
        "agentId"
    );
    let mut nobody = base.clone();
    nobody["agentId"] = Value::Null;
    assert_eq!(AssignAgent::try_from(nobody).unwrap().agent, None);
    let mut nameless = base;
    nameless["agentId"] = json!("a2");
    assert_eq!(
        AssignAgent::try_from(nameless).unwrap_err().field,
        "agentName"
    );
}

#[test]
fn title_is_taken_for_subject() {
    assert_eq!(
        NewTicket::try_from(json!({"title": "t"})).unwrap().subject,
        "t"
    );
    assert_eq!(
        NewTicket::try_from(json!({"title": "t", "subject": "s"}))
            .unwrap()
            .subject,
        "s"
    );
    assert_eq!(NewTicket::try_from(json!({})).unwrap_err().field, "subject");
    let tags = NewTicket::try_from(json!({"subject": "s", "tags": ["a", " a ", "b"]}))
        .unwrap()
        .tags;
    assert_eq!(tags, ["a", "b"]);
}
