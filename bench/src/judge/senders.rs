//! What senders were told, against what is stored.
//!
//! An acknowledgement does not name its epoch. It is sure where the joins before and after it name the same one;
//! nothing is claimed of the order of the others, nor of numbers of an epoch that is over.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Fault, Truth, Verdict};
use crate::history::{Acked, Client, History, Key, Ticket, What};

/// What is remembered of a message that was sent.
struct Send {
    /// The highest `seq` of the ticket that this sender had in an acknowledgement before it sent this one, and in
    /// which epoch.
    floor: Option<(Arc<str>, u64)>,
    /// Over which connection it went first.
    connection: u32,
    /// Where it was acknowledged, over which connection, in which epoch.
    acked: Option<(Acked, u32, Option<Arc<str>>)>,
}

pub(super) fn judge(history: &History, truth: &Truth<'_>, verdict: &mut Verdict) {
    let changes: Vec<HashSet<u64>> = history
        .stored
        .iter()
        .map(|stored| stored.changes.iter().copied().collect())
        .collect();
    for client in &history.clients {
        for record in &client.records {
            if let What::Changed { ticket, seq } = record.what
                && !changes
                    .get(ticket as usize)
                    .is_some_and(|c| c.contains(&seq))
            {
                verdict.found(Fault::Lost, || {
                    format!("ticket {ticket}: acknowledged change {seq} is not stored")
                });
            }
        }
        one(client, &history.epochs, truth, verdict);
    }
}

/// For each record of a client, the epoch of its ticket, where that is sure.
fn epochs(client: &Client, last: &[Arc<str>]) -> Vec<Option<Arc<str>>> {
    let mut after: HashMap<Ticket, Arc<str>> = (0..)
        .zip(last)
        .map(|(ticket, epoch)| (ticket, Arc::clone(epoch)))
        .collect();
    // Backwards: the epoch of the next join, or of the end.
    let mut sure: Vec<Option<Arc<str>>> = vec![None; client.records.len()];
    for (record, sure) in client.records.iter().zip(&mut sure).rev() {
        match &record.what {
            What::Joined(joined) => {
                after.insert(joined.ticket, Arc::clone(&joined.now.epoch));
            }
            What::Acked(acked) => *sure = after.get(&acked.ticket).cloned(),
            _ => {}
        }
    }
    // Forwards: that of the join before must be the same.
    let mut before: HashMap<Ticket, &Arc<str>> = HashMap::new();
    for (record, sure) in client.records.iter().zip(&mut sure) {
        match &record.what {
            What::Joined(joined) => {
                before.insert(joined.ticket, &joined.now.epoch);
            }
            What::Acked(acked) if before.get(&acked.ticket).copied() != sure.as_ref() => {
                *sure = None;
            }
            _ => {}
        }
    }
    sure
}

fn one(client: &Client, last: &[Arc<str>], truth: &Truth<'_>, verdict: &mut Verdict) {
    let epochs = epochs(client, last);
    let mut sends: HashMap<Key, Send> = HashMap::new();
    let mut order: Vec<(Ticket, Key)> = Vec::new();
    let mut highest: HashMap<Ticket, (Arc<str>, u64)> = HashMap::new();
    for (record, epoch) in client.records.iter().zip(epochs) {
        match &record.what {
            What::Sent { ticket, key } => {
                order.push((*ticket, *key));
                let send = Send {
                    floor: highest.get(ticket).cloned(),
                    connection: record.connection,
                    acked: None,
                };
                sends.insert(*key, send);
            }
            What::Acked(acked) => {
                if let Some(epoch) = &epoch {
                    let top = highest
                        .entry(acked.ticket)
                        .or_insert((Arc::clone(epoch), 0));
                    if top.0 != *epoch {
                        *top = (Arc::clone(epoch), 0);
                    }
                    top.1 = top.1.max(acked.seq);
                }
                if let Some(send) = sends.get_mut(&acked.key) {
                    let of_the_last =
                        epoch.is_some() && epoch.as_ref() == last.get(acked.ticket as usize);
                    if let Some((before, _, was)) = &send.acked {
                        repeated(before, acked, *was == epoch && of_the_last, verdict);
                    } else {
                        first(acked, send, epoch.as_ref(), of_the_last, truth, verdict);
                        send.acked = Some((*acked, record.connection, epoch));
                    }
                }
            }
            _ => {}
        }
    }
    in_order(&order, &sends, verdict);
}

/// A repeat must be answered as the first was. What was lost with its epoch is another matter.
fn repeated(before: &Acked, again: &Acked, sure: bool, verdict: &mut Verdict) {
    let equal = before.id == again.id && before.seq == again.seq && again.duplicate;
    if before.id != again.id || (sure && !equal) {
        verdict.found(Fault::Doubled, || {
            let Acked { ticket, key, .. } = again;
            format!(
                "ticket {ticket}: {key} acknowledged as {} and as {}",
                before.seq, again.seq
            )
        });
    }
}

fn first(
    acked: &Acked,
    send: &Send,
    epoch: Option<&Arc<str>>,
    of_the_last: bool,
    truth: &Truth<'_>,
    verdict: &mut Verdict,
) {
    let Acked {
        ticket,
        key,
        id,
        seq,
        ..
    } = *acked;
    if truth.at(ticket, seq).is_none_or(|stored| stored.id != id) {
        let messages = truth
            .tickets
            .get(ticket as usize)
            .map(|stored| &stored.messages);
        match messages
            .into_iter()
            .flatten()
            .find(|message| message.id == id)
        {
            Some(stored) if of_the_last => verdict.found(Fault::Reordered, || {
                format!(
                    "ticket {ticket}: {key} acknowledged at {seq}, stored at {}",
                    stored.seq
                )
            }),
            Some(_) => {}
            None => verdict.lost(id, || {
                format!("ticket {ticket}: {key}, acknowledged at {seq}, is not stored")
            }),
        }
    }
    if let Some((of, floor)) = &send.floor
        && epoch == Some(of)
        && seq <= *floor
    {
        verdict.found(Fault::Reordered, || {
            format!("ticket {ticket}: {key} at {seq}, sent after its sender knew {floor}")
        });
    }
}

/// What went over one connection, and was taken at the first attempt, keeps its order.
fn in_order(order: &[(Ticket, Key)], sends: &HashMap<Key, Send>, verdict: &mut Verdict) {
    let mut last: HashMap<(Ticket, u32, &Arc<str>), u64> = HashMap::new();
    for (ticket, key) in order {
        let send = &sends[key];
        let Some((acked, connection, epoch)) = &send.acked else {
            verdict.found(Fault::Unacked, || format!("ticket {ticket}: {key}"));
            continue;
        };
        let Some(epoch) = epoch.as_ref().filter(|_| *connection == send.connection) else {
            continue;
        };
        if acked.refused > 0 || acked.unknown > 0 {
            continue;
        }
        let last = last.entry((*ticket, *connection, epoch)).or_default();
        if acked.seq <= *last {
            verdict.found(Fault::Reordered, || {
                format!(
                    "ticket {ticket}: {key} at {}, sent after what is at {last}",
                    acked.seq
                )
            });
        }
        *last = acked.seq.max(*last);
    }
}
