//! What senders were told, against what is stored.

use std::collections::{HashMap, HashSet};

use super::{Fault, Truth, Verdict};
use crate::history::{Acked, Client, History, Key, Ticket, What};

/// What is remembered of a message that was sent.
struct Send {
    /// The highest `seq` of the ticket that this sender had in an acknowledgement before it sent this one.
    floor: u64,
    /// Over which connection it went first.
    connection: u32,
    /// How often the ticket's numbers had begun anew for this client.
    life: u32,
    /// Where it was acknowledged.
    acked: Option<Acked>,
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
        one(client, truth, verdict);
    }
}

fn one(client: &Client, truth: &Truth<'_>, verdict: &mut Verdict) {
    let mut sends: HashMap<Key, Send> = HashMap::new();
    let mut order: Vec<(Ticket, Key)> = Vec::new();
    let mut highest: HashMap<Ticket, u64> = HashMap::new();
    let mut epochs: HashMap<Ticket, (u32, &str)> = HashMap::new();
    for record in &client.records {
        match &record.what {
            What::Sent { ticket, key } => {
                order.push((*ticket, *key));
                sends.insert(
                    *key,
                    Send {
                        floor: highest.get(ticket).copied().unwrap_or(0),
                        connection: record.connection,
                        life: epochs.get(ticket).map_or(0, |(life, _)| *life),
                        acked: None,
                    },
                );
            }
            What::Joined(joined) => {
                let epoch = epochs
                    .entry(joined.ticket)
                    .or_insert((0, &joined.now.epoch));
                if *epoch.1 != *joined.now.epoch {
                    *epoch = (epoch.0 + 1, &joined.now.epoch);
                    highest.remove(&joined.ticket);
                }
            }
            What::Resync { ticket } => {
                // Numbers may begin anew from here; the next join tells the epoch.
                epochs.entry(*ticket).or_insert((0, "")).0 += 1;
                highest.remove(ticket);
            }
            What::Acked(acked) => {
                let life = epochs.get(&acked.ticket).map_or(0, |(life, _)| *life);
                if let Some(send) = sends.get_mut(&acked.key) {
                    acknowledged(*acked, send, life, record.connection, truth, verdict);
                    let top = highest.entry(acked.ticket).or_default();
                    *top = acked.seq.max(*top);
                }
            }
            _ => {}
        }
    }
    in_order(&order, &sends, verdict);
}

fn acknowledged(
    acked: Acked,
    send: &mut Send,
    life: u32,
    connection: u32,
    truth: &Truth<'_>,
    verdict: &mut Verdict,
) {
    let Acked {
        ticket,
        key,
        id,
        seq,
        ..
    } = acked;
    if let Some(before) = send.acked {
        if before.id != id || before.seq != seq || !acked.duplicate {
            verdict.found(Fault::Doubled, || {
                format!(
                    "ticket {ticket}: {key} acknowledged as {} and as {seq}",
                    before.seq
                )
            });
        }
        return;
    }
    match truth.at(ticket, seq) {
        Some(stored) if stored.id == id => {}
        _ => match truth.tickets[ticket as usize]
            .messages
            .iter()
            .find(|m| m.id == id)
        {
            Some(stored) => verdict.found(Fault::Reordered, || {
                format!(
                    "ticket {ticket}: {key} acknowledged at {seq}, stored at {}",
                    stored.seq
                )
            }),
            None => verdict.lost(id, || {
                format!("ticket {ticket}: {key}, acknowledged at {seq}, is not stored")
            }),
        },
    }
    if send.life == life && seq <= send.floor {
        verdict.found(Fault::Reordered, || {
            format!(
                "ticket {ticket}: {key} at {seq}, sent after its sender knew {}",
                send.floor
            )
        });
    }
    if life != send.life || connection != send.connection {
        // No claim about the order against its neighbours.
        send.connection = 0;
    }
    send.acked = Some(acked);
}

/// What went over one connection, and was taken at the first attempt, keeps its order.
fn in_order(order: &[(Ticket, Key)], sends: &HashMap<Key, Send>, verdict: &mut Verdict) {
    let mut last: HashMap<(Ticket, u32, u32), u64> = HashMap::new();
    for (ticket, key) in order {
        let send = &sends[key];
        let Some(acked) = send.acked else {
            verdict.found(Fault::Unacked, || format!("ticket {ticket}: {key}"));
            continue;
        };
        if send.connection == 0 || acked.refused > 0 || acked.unknown > 0 {
            continue;
        }
        let last = last
            .entry((*ticket, send.connection, send.life))
            .or_default();
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
