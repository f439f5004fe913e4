//! What stands in Redis: any bytes are an entry or a signal that survives being written again, or an error that
//! does not quote them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ticket_shared::stream::{DecodeError, Entry, Frame, VERSION};

fuzz_target!(|bytes: &[u8]| {
    match Frame::decode(bytes) {
        Ok(Frame::Entry(entry)) => {
            again(&entry);
            assert_eq!(Entry::decode(&bytes[1..]), Ok(*entry));
        }
        Ok(Frame::Signal(signal)) => {
            let text = signal.encode().expect("a signal is text");
            assert_eq!(Frame::decode(text.as_bytes()), Ok(Frame::Signal(signal)));
        }
        Err(error) => told(&error),
    }
    match Entry::decode(bytes) {
        Ok(entry) => again(&entry),
        Err(error) => told(&error),
    }
});

fn again(entry: &Entry) {
    assert!(entry.version <= VERSION);
    let text = serde_json::to_vec(entry).expect("an entry is JSON");
    assert_eq!(Entry::decode(&text).as_ref(), Ok(entry));
    // What readers make of it must not panic, whatever the numbers are.
    let _ = (
        entry.covers(),
        entry.public_seq(),
        entry.last(),
        entry.head.tags(),
    );
    if let Some(ticket) = entry.ticket() {
        serde_json::to_vec(&ticket).expect("a ticket is JSON");
    }
    if let Some(message) = entry.message() {
        assert_eq!(message.seq, entry.seq);
        serde_json::to_vec(&message).expect("a message is JSON");
    }
}

fn told(error: &DecodeError) {
    assert!(error.to_string().len() < 100);
}
