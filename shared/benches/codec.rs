//! What every message costs in text: the payload that a client sends, the entry of the log, the event that goes out.

use divan::{AllocProfiler, Bencher, black_box, counter::BytesCount};
use serde_json::Value;
use ticket_shared::{
    domain::{Priority, Status, UserType},
    event::{MessageReceived, SendMessage},
    id::Id,
    stream::{Change, Entry, Frame, Head, NewMessage, VERSION},
};

/// Allocations are counted, too: unlike times, they are the same on every machine.
#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// Lengths of a message: a usual one, and the longest.
const LENGTHS: [usize; 2] = [100, 8_192];

fn main() {
    divan::main();
}

fn id(number: u8) -> Id {
    Id::from_bytes([number; 12])
}

/// A message in the middle of a log.
fn entry(length: usize) -> Entry {
    Entry {
        version: VERSION,
        ticket_id: id(1),
        seq: 1_234,
        prev_seq: 1_233,
        at: 1_763_861_000_000,
        epoch: "0123456789abcdef".into(),
        message_count: 1_200,
        change: Change::Message(NewMessage {
            id: id(2),
            sender_id: "customer-1".into(),
            sender_type: UserType::User,
            sender_name: "سارة".into(),
            content: "x".repeat(length),
            internal: false,
            client_message_id: Some("0b0e1b52-3d0f-4a77".into()),
        }),
        head: Head {
            subject: "The order has not arrived".into(),
            status: Status::Open,
            priority: Priority::Normal,
            tags: r#"["orders"]"#.into(),
            agent_id: Some("agent-1".into()),
            agent_name: Some("Omar".into()),
            closed_at: None,
        },
        last: None,
        from_status: None,
        from_agent: None,
        prev_public_at: None,
        base: None,
    }
}

fn text(entry: &Entry) -> Vec<u8> {
    serde_json::to_vec(entry).expect("an entry is JSON")
}

#[divan::bench(args = LENGTHS)]
fn entry_encode(bencher: Bencher<'_, '_>, length: usize) {
    let entry = entry(length);
    bencher
        .counter(BytesCount::new(text(&entry).len()))
        .bench(|| text(black_box(&entry)));
}

#[divan::bench(args = LENGTHS)]
fn entry_decode(bencher: Bencher<'_, '_>, length: usize) {
    let text = text(&entry(length));
    bencher
        .counter(BytesCount::new(text.len()))
        .bench(|| Entry::decode(black_box(&text)));
}

/// As a gateway gets it over a ticket's channel, with what it makes of it.
#[divan::bench(args = LENGTHS)]
fn frame_to_message(bencher: Bencher<'_, '_>, length: usize) {
    let frame = [b"E", text(&entry(length)).as_slice()].concat();
    bencher.counter(BytesCount::new(frame.len())).bench(|| {
        let Ok(Frame::Entry(entry)) = Frame::decode(black_box(&frame)) else {
            return None;
        };
        entry.message()
    });
}

/// From the text of the frame, by the JSON value that the Socket.IO library makes of it.
#[divan::bench(args = LENGTHS)]
fn send_message_decode(bencher: Bencher<'_, '_>, length: usize) {
    let text = serde_json::json!({
        "ticketId": id(1), "senderId": "customer-1", "senderType": "user", "senderName": "سارة",
        "content": "x".repeat(length), "clientMessageId": "0b0e1b52-3d0f-4a77",
    })
    .to_string();
    bencher.counter(BytesCount::new(text.len())).bench(|| {
        let payload: Value = serde_json::from_str(black_box(&text)).expect("JSON");
        SendMessage::try_from(payload)
    });
}

#[divan::bench(args = LENGTHS)]
fn message_received_encode(bencher: Bencher<'_, '_>, length: usize) {
    let entry = entry(length);
    let event = MessageReceived {
        message: entry.message().expect("the entry is a message"),
        seq: entry.seq,
        prev_seq: entry.prev_seq,
    };
    bencher.bench(|| serde_json::to_string(black_box(&event)));
}
