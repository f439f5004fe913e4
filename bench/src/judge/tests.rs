//! A run in which all went well, and each fault faked into it: the judge must see that one.

use super::*;
use crate::history::{Acked, Facts, Record, Shown};

mod good;

use good::{FACTS, acked, event, good, heard, joined, key, record};

/// What the judge finds where the good run is spoilt like this.
fn spoilt(spoil: impl FnOnce(&mut History)) -> Verdict {
    let mut history = good();
    spoil(&mut history);
    judge(&history)
}

fn sees(fault: Fault, spoil: impl FnOnce(&mut History)) {
    let verdict = spoilt(spoil);
    assert!(verdict.count(fault) > 0, "{fault:?} not in {verdict:?}");
}

/// Changes the place that an acknowledgement or an event names.
fn move_to(record: &mut Record, to: u64) {
    match &mut record.what {
        What::Acked(acked) => acked.seq = to,
        What::Event { seq, message, .. } => {
            *seq = to;
            if let Some(message) = message {
                message.seq = to;
            }
        }
        other => panic!("has no place: {other:?}"),
    }
}

/// Puts another message into an event, at the same place.
fn other_message(record: &mut Record) {
    if let What::Event {
        message: Some(message),
        ..
    } = &mut record.what
    {
        message.id = Id::from_bytes([8; 12]);
    }
}

#[test]
fn a_good_run_is_good() {
    assert_eq!(judge(&good()), Verdict::default());
}

#[test]
fn lost_in_mongodb() {
    sees(Fault::Lost, |run| {
        run.stored[0].messages.remove(2);
    });
    sees(Fault::Hole, |run| {
        run.stored[0].messages.remove(2);
    });
}

#[test]
fn lost_in_rest() {
    sees(Fault::Lost, |run| {
        run.rest[1].tickets[0].messages.pop();
    });
}

#[test]
fn lost_at_a_reader_that_believes_to_have_all() {
    let forgets = |run: &mut History| {
        if let What::Joined(joined) = &mut run.clients[2].records[4].what {
            joined.messages.remove(0);
        }
    };
    for fault in [Fault::Lost, Fault::Unnoticed, Fault::Partial] {
        sees(fault, forgets);
    }
}

#[test]
fn a_lost_message_counts_once() {
    let verdict = spoilt(|run| {
        run.stored[0].messages.remove(2);
        run.rest[0].tickets[0].messages.remove(2);
    });
    assert_eq!(verdict.count(Fault::Lost), 1);
}

#[test]
fn a_lost_change() {
    sees(Fault::Lost, |run| {
        run.clients[0]
            .records
            .push(record(What::Changed { ticket: 0, seq: 9 }));
    });
}

#[test]
fn doubled_in_mongodb() {
    sees(Fault::Doubled, |run| {
        let mut copy = heard(3);
        (copy.seq, copy.id) = (7, Id::from_bytes([7; 12]));
        run.stored[0].messages.push(copy);
    });
}

#[test]
fn doubled_in_acknowledgements() {
    let repeat = |change: fn(&mut Acked)| {
        let mut again = Acked {
            duplicate: true,
            again: true,
            ..acked(2)
        };
        change(&mut again);
        move |run: &mut History| run.clients[0].records.push(record(What::Acked(again)))
    };
    assert_eq!(
        spoilt(repeat(|_| ())),
        Verdict::default(),
        "an equal repeat is good"
    );
    sees(Fault::Doubled, repeat(|again| again.seq = 6));
    sees(
        Fault::Doubled,
        repeat(|again| again.id = Id::from_bytes([8; 12])),
    );
    sees(Fault::Doubled, repeat(|again| again.duplicate = false));
}

#[test]
fn doubled_for_a_reader() {
    sees(Fault::Doubled, |run| {
        let mut copy = event(5);
        if let What::Event {
            seq, prev, message, ..
        } = &mut copy.what
        {
            (*seq, *prev) = (7, 6);
            if let Some(message) = message {
                message.seq = 7;
            }
        }
        run.clients[1].records.push(copy);
    });
}

#[test]
fn out_of_order_for_its_sender() {
    // The third was sent after the second was acknowledged, and stands before it.
    sees(Fault::Reordered, |run| {
        let places = [6, 9];
        assert!(matches!(run.clients[0].records[6].what, What::Acked(a) if a.key == key(2)));
        for (place, to) in places.into_iter().zip([4, 3]) {
            move_to(&mut run.clients[0].records[place], to);
        }
        run.stored[0].messages[1].seq = 4;
        run.stored[0].messages[2].seq = 3;
    });
}

#[test]
fn out_of_order_on_one_connection() {
    sees(Fault::Reordered, |run| {
        // Both were in flight at once, so only the connection says in which order.
        let records = &mut run.clients[0].records;
        let sent = records.remove(7);
        records.insert(5, sent);
        let places = |records: &Vec<Record>, number| {
            let is = |r: &Record| matches!(r.what, What::Acked(a) if a.key == key(number));
            records.iter().position(is).unwrap()
        };
        let (second, third) = (places(records, 2), places(records, 3));
        move_to(&mut records[second], 4);
        move_to(&mut records[third], 3);
        run.stored[0].messages[1].seq = 4;
        run.stored[0].messages[2].seq = 3;
    });
}

#[test]
fn out_of_order_in_mongodb_and_in_pages() {
    sees(Fault::Reordered, |run| {
        let messages = &mut run.stored[0].messages;
        (messages[1].seq, messages[2].seq) = (messages[2].seq, messages[1].seq);
    });
    sees(Fault::Reordered, |run| {
        run.rest[0].tickets[0].messages.swap(1, 2);
    });
}

#[test]
fn out_of_order_for_a_reader() {
    sees(Fault::Unnoticed, |run| run.clients[1].records.swap(2, 3));
    sees(Fault::Reordered, |run| {
        let mut late = event(2);
        other_message(&mut late);
        run.clients[1].records.push(late);
    });
}

#[test]
fn a_number_given_twice() {
    let other = |run: &mut History| {
        let mut other = event(3);
        other_message(&mut other);
        run.clients[1].records[3] = other;
    };
    sees(Fault::Twice, other);
    sees(Fault::Phantom, other);
    sees(Fault::Twice, |run| run.stored[0].changes.push(4));
    // In another epoch the number may mean something else.
    let verdict = spoilt(|run| {
        other(run);
        let mut again = joined(None, 1..6, 6);
        if let What::Joined(joined) = &mut again.what {
            joined.now.epoch = "f".into();
        }
        for client in &mut run.clients {
            client
                .records
                .extend([record(What::Resync { ticket: 0 }), again.clone()]);
        }
        run.epochs[0] = "f".into();
    });
    assert_eq!(verdict, Verdict::default());
}

#[test]
fn a_gap_that_nobody_sees() {
    sees(Fault::Unnoticed, |run| {
        run.clients[1].records.pop();
    });
    sees(Fault::Unnoticed, |run| {
        run.clients[1].records.remove(3);
    });
    // Noticed, and mended by joining again.
    let verdict = spoilt(|run| {
        run.clients[1].records.remove(3);
        run.clients[1].records.push(joined(Some(3), 3..6, 6));
    });
    assert_eq!(verdict, Verdict::default());
}

#[test]
fn an_epoch_that_a_reader_was_not_told_of() {
    sees(Fault::Unnoticed, |run| run.epochs[0] = "f".into());
}

#[test]
fn a_recovery_from_nowhere() {
    sees(Fault::Partial, |run| {
        run.clients[2].records.push(joined(Some(9), 1..1, 6));
    });
}

#[test]
fn stale_numbers() {
    sees(Fault::Stale, |run| run.rest[0].counts = None);
    sees(Fault::Stale, |run| run.rest[0].tickets[0].listed = None);
    sees(Fault::Stale, |run| {
        run.rest[0].tickets[0].facts = Some(Facts {
            messages: 4,
            ..FACTS
        });
    });
    sees(Fault::Stale, |run| {
        run.stored[0].facts = Some(Facts {
            messages: 4,
            ..FACTS
        });
    });
    sees(Fault::Stale, |run| run.rest[0].tickets.clear());
}

#[test]
fn the_same_event_twice() {
    sees(Fault::Repeated, |run| run.clients[1].records.push(event(5)));
}

#[test]
fn never_acknowledged() {
    sees(Fault::Unacked, |run| {
        run.clients[0].records.pop();
    });
}
