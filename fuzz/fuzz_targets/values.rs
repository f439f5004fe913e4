//! Ids and times, from text, from JSON and from bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ticket_shared::{id::Id, time::Time};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(id) = text.parse::<Id>() {
            assert_eq!(id.to_string(), text.to_ascii_lowercase());
        }
        let ticket = Id::from_bytes([7; 12]);
        assert_eq!(
            Id::of_message(ticket, text, "c"),
            Id::of_message(ticket, text, "c")
        );
    }
    if let Ok(id) = serde_json::from_slice::<Id>(bytes) {
        assert_eq!(
            serde_json::from_str::<Id>(&format!("\"{id}\"")).ok(),
            Some(id)
        );
    }
    if let Ok(time) = serde_json::from_slice::<Time>(bytes) {
        // The year 0 is read, and shown as the earliest time of the year 1.
        let shown: Time = serde_json::from_str(&format!("\"{time}\"")).expect("a time");
        assert!(
            shown == time || time < Time(-62_135_596_800_000) || time > Time(253_402_207_200_000)
        );
        assert_eq!(
            serde_json::from_str::<Time>(&format!("\"{shown}\"")).ok(),
            Some(shown)
        );
    }
    if let Some(number) = bytes.first_chunk::<8>() {
        // Whatever the number is, it is shown, and what is shown is a time.
        let shown = Time(i64::from_le_bytes(*number)).to_string();
        serde_json::from_str::<Time>(&format!("\"{shown}\"")).expect("a time");
    }
    if let Some(raw) = bytes.first_chunk::<12>() {
        let id = Id::from_bytes(*raw);
        assert_eq!(id.to_string().parse(), Ok(id));
    }
});
