//! What the gateways' REST shows, against what is stored.

use std::collections::HashMap;

use ticket_shared::domain::Counts;

use super::{Fault, Truth, Verdict};
use crate::history::{Facts, History, Rest, Shown, Stored, Ticket};

pub(super) fn judge(history: &History, truth: &Truth<'_>, verdict: &mut Verdict) {
    let mut expected = Counts::default();
    for facts in history.stored.iter().filter_map(|stored| stored.facts) {
        expected.add(facts.status, facts.assigned, 1);
    }
    for (gateway, rest) in history.rest.iter().enumerate() {
        if rest.counts != Some(expected) {
            verdict.found(Fault::Stale, || {
                format!(
                    "gateway {gateway} counts {:?} instead of {expected:?}",
                    rest.counts
                )
            });
        }
        tickets(gateway, rest, &history.stored, truth, verdict);
    }
}

fn tickets(
    gateway: usize,
    rest: &Rest,
    stored: &[Stored],
    truth: &Truth<'_>,
    verdict: &mut Verdict,
) {
    for (ticket, stored) in (0..).zip(stored) {
        let Some(shown) = rest.tickets.get(ticket as usize) else {
            verdict.found(Fault::Stale, || {
                format!("gateway {gateway} does not show ticket {ticket}")
            });
            continue;
        };
        let views: [(&str, Option<Facts>); 2] = [("shows", shown.facts), ("lists", shown.listed)];
        for (verb, facts) in views {
            if facts != stored.facts {
                verdict.found(Fault::Stale, || {
                    format!(
                        "gateway {gateway} {verb} ticket {ticket} as {facts:?} instead of {:?}",
                        stored.facts
                    )
                });
            }
        }
        pages(gateway, ticket, shown, stored, truth, verdict);
    }
}

fn pages(
    gateway: usize,
    ticket: Ticket,
    shown: &Shown,
    stored: &Stored,
    truth: &Truth<'_>,
    verdict: &mut Verdict,
) {
    let mut seen = HashMap::new();
    let mut last = 0;
    for message in &shown.messages {
        if message.seq <= last {
            verdict.found(Fault::Reordered, || {
                format!(
                    "gateway {gateway}, ticket {ticket}: page shows {} after {last}",
                    message.seq
                )
            });
        }
        last = message.seq;
        seen.insert(message.id, message.seq);
        if truth
            .at(ticket, message.seq)
            .is_none_or(|stored| stored.id != message.id)
        {
            verdict.found(Fault::Phantom, || {
                format!(
                    "gateway {gateway}, ticket {ticket}: page shows {} that is not stored",
                    message.seq
                )
            });
        }
    }
    for message in stored
        .messages
        .iter()
        .filter(|message| message.seq > shown.above)
    {
        if seen.get(&message.id) != Some(&message.seq) {
            verdict.lost(message.id, || {
                format!(
                    "gateway {gateway}, ticket {ticket}: {} is in no page",
                    message.seq
                )
            });
        }
    }
}
