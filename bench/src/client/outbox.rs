//! The messages of a client that are not acknowledged, and those that it repeats on purpose.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::{
    chance,
    history::{Acked, Key, Ticket},
};

/// Every so many acknowledgements one message is sent again, to see that it stays one.
const REPEAT: u64 = 40;

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub ticket: Ticket,
    pub internal: bool,
    refused: u16,
    unknown: u16,
    again: bool,
    /// When to send it; nothing while an answer is awaited.
    at: Option<Instant>,
    pub sent_before: bool,
}

/// The messages on their way.
#[derive(Debug)]
pub(super) struct Outbox {
    client: u32,
    last: u32,
    pending: BTreeMap<u32, Pending>,
}

impl Outbox {
    pub(super) fn new(client: u32) -> Self {
        Self {
            client,
            last: 0,
            pending: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// How many messages were begun.
    pub(super) fn begun(&self) -> u32 {
        self.last
    }

    /// Begins another message.
    pub(super) fn begin(&mut self, ticket: Ticket, internal: bool) {
        self.last += 1;
        let pending = Pending {
            ticket,
            internal,
            refused: 0,
            unknown: 0,
            again: false,
            at: Some(Instant::now()),
            sent_before: false,
        };
        self.pending.insert(self.last, pending);
    }

    /// When the next is to be sent.
    pub(super) fn due(&self) -> Option<Instant> {
        self.pending.values().filter_map(|pending| pending.at).min()
    }

    /// The oldest one that is to be sent by now, if its ticket can be written in. It counts as sent.
    pub(super) fn next(&mut self, open: impl Fn(Ticket) -> bool) -> Option<(Key, Pending)> {
        let now = Instant::now();
        let is_due = |pending: &Pending| pending.at.is_some_and(|at| at <= now);
        let (number, pending) = self
            .pending
            .iter_mut()
            .find(|(_, pending)| is_due(pending) && open(pending.ticket))?;
        pending.at = None;
        let key = Key {
            client: self.client,
            number: *number,
        };
        let before = pending.clone();
        pending.sent_before = true;
        Some((key, before))
    }

    /// It was refused.
    pub(super) fn refused(&mut self, key: Key, retry: Duration) {
        if let Some(pending) = self.pending.get_mut(&key.number) {
            pending.refused += 1;
            pending.at = Some(Instant::now() + retry);
        }
    }

    /// The connection ended before the answer.
    pub(super) fn unanswered(&mut self, key: Key) {
        if let Some(pending) = self.pending.get_mut(&key.number) {
            pending.unknown += 1;
            pending.at = Some(Instant::now());
        }
    }

    /// It was acknowledged: what the record says of it.
    pub(super) fn acknowledged(&mut self, mut acked: Acked) -> Acked {
        if let Some(pending) = self.pending.remove(&acked.key.number) {
            acked.ticket = pending.ticket;
            acked.refused = pending.refused;
            acked.unknown = pending.unknown;
            acked.again = pending.again;
            if !pending.again && chance::below(REPEAT) == 0 {
                let again = Pending {
                    again: true,
                    at: Some(Instant::now() + Duration::from_millis(chance::below(3_000))),
                    ..pending
                };
                self.pending.insert(acked.key.number, again);
            }
        }
        acked
    }
}
