//! The cursor of a list of tickets, as a client brings it back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ticket_gateway::ticket::list::Cursor;
use ticket_mongo::date;

fuzz_target!(|text: &str| {
    if let Some(cursor) = Cursor::decode(text) {
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        // A database takes it as a date.
        assert!((date::FIRST..=date::LAST).contains(&cursor.created_at));
    }
});
