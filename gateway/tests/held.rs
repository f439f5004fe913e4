//! Memory of events that wait for their turn: no more than is counted for them, whatever JSON they are.
//!
//! The memory of the whole process is counted, so this file has one test.

use std::alloc::System;

use proptest::prelude::*;
use serde_json::Value;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use ticket_gateway::socket::{Event, Payload};
use ticket_shared::domain::limits;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The bytes that an allocator may round up, for each of two allocations.
const SLACK: usize = 64;

/// The bytes that something holds, and itself.
fn held<T>(action: impl FnOnce() -> T) -> (usize, T) {
    let region = Region::new(ALLOCATOR);
    let value = action();
    let change = region.change();
    (change.bytes_allocated - change.bytes_deallocated, value)
}

/// Text that is small, and large once decoded; or any.
fn json() -> impl Strategy<Value = String> {
    let dense = prop::sample::select(vec![
        "0",
        "[]",
        "{}",
        "\"\"",
        "[[[0]]]",
        "{\"\":0}",
        "1e9",
        "\"\\ud83d\"",
    ]);
    let many = (dense, 0..8_000usize)
        .prop_map(|(one, times)| format!("[{}{one}]", format!("{one},").repeat(times)));
    let deep =
        (0..200usize).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    prop_oneof![3 => many, 1 => deep, 1 => ".*"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_waits_holds_no_more_than_is_counted(
        name in prop_oneof![Just("typing".to_owned()), ".{0,100}"],
        payload in json(),
        more in json(),
        attachments in any::<bool>(),
    ) {
        let name = serde_json::to_string(&name).unwrap();
        let text = format!("[{name},{payload},{more}]");
        let (held_now, event) = held(|| Event::read(&text, attachments));
        prop_assert!(held_now <= event.held() + SLACK, "{held_now} {}", event.held());
        prop_assert!(event.held() <= text.len() + 512);
        if text.len() <= limits::FRAME && let Ok(arguments) = serde_json::from_str::<Vec<Value>>(&text) {
            // It says the same as if it had been decoded at once.
            prop_assert_eq!(event.payload.is_ok(), !attachments);
            if let Ok(payload) = event.payload.and_then(Payload::decode) {
                prop_assert_eq!(&payload, &arguments[1]);
            }
        }
    }
}
