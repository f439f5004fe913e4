//! The cursor of a list of tickets, as a client brings it back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ticket_gateway::ticket::list::Cursor;

fuzz_target!(|text: &str| {
    if let Some(cursor) = Cursor::decode(text) {
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        // A database takes it as a date.
        assert!((0..253_402_300_800_000).contains(&cursor.created_at));
    }
});
