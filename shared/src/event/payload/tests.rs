//! Every field that is wrong is named, and nothing of the input comes back.

use serde_json::{Map, Value, json};

use super::*;
use crate::domain::{Priority, limits};

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
        for wrong in [json!(true), json!([7]), json!("\u{feff}\u{200b}")] {
            assert_eq!(
                send(|p| drop(p.insert(field.into(), wrong.clone())))
                    .unwrap_err()
                    .field,
                field,
                "{wrong}"
            );
        }
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

#[test]
fn numbers_are_taken_as_the_text_that_javascript_writes() {
    let sent = |field: &str, number: Value| send(|p| drop(p.insert(field.into(), number))).unwrap();
    for (number, text) in [
        (json!(7), "7"),
        (json!(-7), "-7"),
        (json!(7.0), "7"),
        (json!(-0.0), "0"),
        (json!(7.5), "7.5"),
        (json!(1e3), "1000"),
        (json!(9_007_199_254_740_993_u64), "9007199254740993"),
    ] {
        assert_eq!(sent("content", number.clone()).content, text);
        assert_eq!(sent("senderId", number.clone()).sender_id, text);
        assert_eq!(sent("senderName", number).sender_name, text);
    }
    let new = NewTicket::try_from(json!({"subject": "s", "userId": 7, "priority": "medium"}));
    let new = new.unwrap();
    assert_eq!(
        (new.user_id.as_deref(), new.priority),
        (Some("7"), Priority::Normal)
    );
    for strict in ["senderType", "clientMessageId"] {
        let refused = send(|p| drop(p.insert(strict.into(), json!(7)))).unwrap_err();
        assert_eq!(refused.field, strict);
    }
}

#[test]
fn names_and_ids_hide_nothing_and_texts_may() {
    for hidden in [
        "a\u{7}",
        "a\nb",
        "a\u{202e}b",
        "\u{200f}a",
        "a\u{2066}b",
        "a\u{85}b",
        "a\u{2028}b",
    ] {
        for field in ["senderId", "senderName"] {
            let refused = send(|p| drop(p.insert(field.into(), json!(hidden)))).unwrap_err();
            assert_eq!(refused.field, field, "{hidden:?}");
        }
        let said = send(|p| drop(p.insert("content".into(), json!(hidden)))).unwrap();
        assert_eq!(said.content, hidden);
    }
    let joined = send(|p| drop(p.insert("senderName".into(), json!("می\u{200c}خواهم")))).unwrap();
    assert_eq!(
        joined.sender_name, "می\u{200c}خواهم",
        "a letter's form is no direction"
    );
}
