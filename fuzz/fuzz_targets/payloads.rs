//! What clients send: any JSON is a payload within the limits, or names the field that is wrong.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use ticket_shared::{
    domain::limits,
    event::{
        AssignAgent, Invalid, JoinTicket, LeaveTicket, NewTicket, SendMessage, StatusChange, Typing,
    },
};

/// The first byte chooses the event; the rest is its payload.
const EVENTS: u8 = 7;

fuzz_target!(|bytes: &[u8]| {
    let Some((event, text)) = bytes.split_first() else {
        return;
    };
    let Ok(payload) = serde_json::from_slice::<Value>(text) else {
        return;
    };
    match event % EVENTS {
        0 => taken(JoinTicket::try_from(payload), |join| {
            within(&join.user_id, limits::ID);
            within(&join.user_name, limits::NAME);
        }),
        1 => taken(LeaveTicket::try_from(payload), |_| ()),
        2 => taken(SendMessage::try_from(payload), |send| {
            within(&send.content, limits::CONTENT);
            within(&send.sender_id, limits::ID);
            within(&send.sender_name, limits::NAME);
            let own = send.client_message_id.as_deref().unwrap_or("x");
            assert!((1..=limits::CLIENT_MESSAGE_ID).contains(&own.chars().count()));
        }),
        3 => taken(Typing::try_from(payload), |typing| {
            within(&typing.sender_name, limits::NAME);
        }),
        4 => taken(StatusChange::try_from(payload), |change| {
            within(&change.changed_by, limits::ID);
            within(&change.changed_by_name, limits::NAME);
        }),
        5 => taken(AssignAgent::try_from(payload), |assign| {
            within(&assign.assigned_by, limits::ID);
            if let Some(agent) = &assign.agent {
                within(&agent.agent_id, limits::ID);
            }
        }),
        _ => taken(NewTicket::try_from(payload), |new| {
            within(&new.subject, limits::SUBJECT);
            assert!(new.tags.len() <= limits::TAGS);
            for tag in &new.tags {
                within(tag, limits::TAG);
            }
        }),
    }
});

fn taken<T>(read: Result<T, Invalid>, check: impl FnOnce(&T)) {
    match read {
        Ok(payload) => check(&payload),
        // The field is one of ours, and the problem is told without the input.
        Err(wrong) => {
            assert!(
                !wrong.field.is_empty()
                    && wrong.field.bytes().all(|byte| byte.is_ascii_alphabetic())
            );
            assert!(wrong.problem.len() < 100);
        }
    }
}

fn within(text: &str, max: usize) {
    assert!(!text.is_empty() && text.chars().count() <= max);
    assert!(!text.contains('\0') && text.trim() == text);
}
