//! What is sorted where.

use ticket_shared::stream::VERSION;

use super::*;
use crate::sample::{Log, id};

fn delivered(number: usize, field: &str, value: impl Into<Vec<u8>>) -> Delivered {
    Delivered {
        partition: 0,
        id: format!("{number}-0"),
        fields: vec![(field.to_owned().into(), value.into().into())],
    }
}

fn work(logs: &[&Log]) -> Vec<Work> {
    let entries = logs.iter().flat_map(|log| &log.entries);
    let batch = entries
        .enumerate()
        .map(|(n, entry)| delivered(n, FIELD, serde_json::to_vec(entry).unwrap()))
        .collect();
    let (work, unreadable) = read(batch);
    assert!(unreadable.is_empty());
    work
}

fn refused(entry: usize, scope: Scope) -> Refused {
    let why = Refusal::Code(121);
    Refused { entry, scope, why }
}

fn ids(work: &[Work]) -> Vec<&str> {
    work.iter().map(|work| work.origin.id.as_str()).collect()
}

#[test]
fn a_refused_message_stands_alone() {
    let mut log = Log::opened(id(1, 1));
    log.message("a", false).message("b", false);
    let sorted = sort(work(&[&log]), &[refused(1, Scope::Entry)]);
    assert_eq!(ids(&sorted.stored), ["0-0", "2-0"]);
    assert_eq!(sorted.refused[0].0.origin.id, "1-0");
    assert!(sorted.open.is_empty());
}

#[test]
fn a_refused_state_leaves_open_what_it_spoke_for() {
    let (mut log, other) = (Log::opened(id(1, 1)), Log::opened(id(2, 1)));
    log.message("a", false).message("b", false);
    let sorted = sort(work(&[&log, &other]), &[refused(2, Scope::Ticket)]);
    assert_eq!(ids(&sorted.stored), ["3-0"]);
    assert_eq!(ids(&sorted.open), ["0-0", "1-0"]);
    assert_eq!(sorted.refused.len(), 1);
}

#[test]
fn what_is_no_entry_is_told_apart_from_its_neighbours() {
    let log = Log::opened(id(1, 1));
    let good = serde_json::to_string(&log.entries[0]).unwrap();
    let newer = good.replacen(&format!("\"v\":{VERSION}"), "\"v\":99", 1);
    let mut bare = log.entries[0].clone();
    bare.base = None;
    let (readable, unreadable) = read(vec![
        delivered(0, FIELD, "{"),
        delivered(1, FIELD, good),
        delivered(2, FIELD, newer),
        delivered(3, "other", "{}"),
        delivered(4, FIELD, [0xff, 0xfe]),
        delivered(5, FIELD, serde_json::to_vec(&bare).unwrap()),
    ]);
    assert_eq!(ids(&readable), ["1-0"]);
    let labels: Vec<(&str, String)> = unreadable
        .iter()
        .map(|(origin, reason)| (origin.id.as_str(), reason.to_string()))
        .collect();
    assert_eq!(labels.len(), 5);
    assert_eq!(labels[1], ("2-0", "newer: entry format 99".to_owned()));
    assert!(labels[0].1.starts_with("malformed: "), "{labels:?}");
}

#[test]
fn tries_end_within_a_second() {
    let all: Duration = (1..TRIES).map(|tries| PAUSE * (1 << (tries - 1))).sum();
    assert!(all < Duration::from_millis(500), "{all:?}");
}
