//! Sums over a history: what happened, apart from whether it was right.

use std::collections::{BTreeMap, HashMap};

use ticket_shared::id::Id;

use crate::history::{History, Key, What};

/// The sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// Messages that were acknowledged.
    pub acked: u64,
    /// Messages that were sent again on purpose.
    pub repeats: u64,
    /// Refusals, by code.
    pub refused: BTreeMap<String, u64>,
    /// What was not answered in time, so that the connection was given up.
    pub unanswered: BTreeMap<&'static str, u64>,
    /// Connections after the first.
    pub reconnects: u64,
    /// Clients told to join again.
    pub resyncs: u64,
    /// Clients told that their gateway is about to stop.
    pub drained: u64,
    /// Joins that brought exactly what was missed.
    pub resumed: u64,
    /// Joins after the first that brought the latest messages instead.
    pub reloaded: u64,
    /// Messages that had been accepted although they were answered with nothing but refusals.
    pub refused_yet_accepted: u64,
}

impl Stats {
    /// Sums up.
    pub(crate) fn of(history: &History) -> Self {
        let mut stats = Self::default();
        for client in &history.clients {
            let mut connections = 0_u64;
            for record in &client.records {
                match &record.what {
                    What::Connected => connections += 1,
                    What::Draining => stats.drained += 1,
                    What::Acked(acked) if acked.again => stats.repeats += 1,
                    What::Acked(acked) => {
                        stats.acked += 1;
                        let only_refused = acked.refused > 0 && acked.unknown == 0;
                        stats.refused_yet_accepted += u64::from(acked.duplicate && only_refused);
                    }
                    What::Refused { code } => *stats.refused.entry(code.clone()).or_default() += 1,
                    What::Unanswered(what) => *stats.unanswered.entry(what).or_default() += 1,
                    What::Resync { .. } => stats.resyncs += 1,
                    What::Joined(joined) if joined.recovered => stats.resumed += 1,
                    What::Joined(joined) if joined.since.is_some() => stats.reloaded += 1,
                    _ => {}
                }
            }
            stats.reconnects += connections.saturating_sub(1);
        }
        stats
    }
}

/// How long after `mark` the first message was delivered to a client on the gateway that took it, and to one on
/// another, in ms.
pub(crate) fn delivery_after(history: &History, mark: u32) -> (Option<u32>, Option<u32>) {
    let mut taken: HashMap<Id, u8> = HashMap::new();
    let records = || history.clients.iter().flat_map(|client| &client.records);
    for record in records().filter(|record| record.at >= mark) {
        if let What::Acked(acked) = record.what
            && !acked.duplicate
        {
            taken.insert(acked.id, record.gateway);
        }
    }
    let (mut local, mut remote) = (None, None);
    for record in records().filter(|record| record.at >= mark) {
        if let What::Event {
            message: Some(message),
            ..
        } = &record.what
            && let Some(gateway) = taken.get(&message.id)
        {
            let first = if *gateway == record.gateway {
                &mut local
            } else {
                &mut remote
            };
            let after = record.at - mark;
            *first = Some(first.map_or(after, |known: u32| known.min(after)));
        }
    }
    (local, remote)
}

/// The 99th percentile of the time from sending to delivery, in ms, of messages sent from `from` to `to`.
pub(crate) fn delivery_p99(history: &History, from: u32, to: u32) -> u32 {
    let records = || history.clients.iter().flat_map(|client| &client.records);
    let sent: HashMap<Key, u32> = records()
        .filter(|record| (from..to).contains(&record.at))
        .filter_map(|record| match record.what {
            What::Sent { key, .. } => Some((key, record.at)),
            _ => None,
        })
        .collect();
    let mut took: Vec<u32> = records()
        .filter_map(|record| match &record.what {
            What::Event {
                message: Some(message),
                ..
            } => Some(record.at.saturating_sub(*sent.get(&message.key?)?)),
            _ => None,
        })
        .collect();
    took.sort_unstable();
    let place = took.len() * 99 / 100;
    took.get(place).copied().unwrap_or(0)
}

/// The longest time, in ms, in which some client that stayed connected heard nothing, from `mark` on until it
/// heard something again.
pub(crate) fn longest_silence(history: &History, mark: u32) -> u32 {
    let first = |client: &crate::history::Client| {
        let heard = client.records.iter().filter(|record| record.at >= mark);
        let mut events = heard.filter(|record| matches!(record.what, What::Event { .. }));
        events.next().map(|record| record.at - mark)
    };
    history.clients.iter().filter_map(first).max().unwrap_or(0)
}
