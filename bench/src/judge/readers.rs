//! What readers saw, replayed, against what is stored.
//!
//! A reader's view of a ticket is the last full answer to a join and what followed it. It claims a span of
//! numbers: from where the answer began to the last event that continued it. In that span it must have
//! everything, and at the end the span must reach the ticket's newest number.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ticket_shared::{domain::UserType, id::Id};

use super::{Fault, Truth, Verdict};
use crate::history::{Client, Heard, History, Joined, Key, Ticket, What};

/// How many messages an answer that recovers nothing holds where there are as many.
const LATEST: usize = 50;

/// What each number of each ticket stood for, by epoch; nothing for what is no message.
type Meanings = HashMap<(Ticket, Arc<str>, u64), Option<Id>>;

/// One client's view of one ticket.
struct View<'a> {
    client: &'a Client,
    ticket: Ticket,
    epoch: Option<Arc<str>>,
    /// The parts of the log that the view claims to have, above the first number up to the second.
    spans: Vec<(u64, u64)>,
    have: BTreeMap<u64, Heard>,
    places: HashMap<Key, u64>,
    /// Whether what comes can be trusted to continue the view: not after a gap or a resync, before the join.
    live: bool,
    /// Something beyond the view came, which the next join has to bring.
    owed: bool,
    /// What was seen since the last join, if the epoch turns out to be the same after it.
    unsure: Vec<(u64, Option<Id>)>,
    recoveries: Vec<(u64, u64, Vec<Id>)>,
}

pub(super) fn judge(history: &History, truth: &Truth<'_>, verdict: &mut Verdict) {
    let mut meanings = Meanings::new();
    for client in &history.clients {
        let mut views: BTreeMap<Ticket, View<'_>> = client
            .tickets
            .iter()
            .map(|ticket| (*ticket, View::new(client, *ticket)))
            .collect();
        for record in &client.records {
            match &record.what {
                What::Connected | What::Disconnected => {
                    views.values_mut().for_each(View::stop);
                }
                What::Resync { ticket } => {
                    if let Some(view) = views.get_mut(ticket) {
                        view.live = false;
                        view.unsure.clear();
                    }
                }
                What::Joined(joined) => {
                    if let Some(view) = views.get_mut(&joined.ticket) {
                        view.joined(joined, &mut meanings, verdict);
                    }
                }
                What::Event {
                    ticket,
                    seq,
                    prev,
                    message,
                } => {
                    if let Some(view) = views.get_mut(ticket) {
                        view.event(*seq, *prev, *message, verdict);
                    }
                }
                What::Acked(acked) if !acked.duplicate => {
                    if let Some(view) = views.get_mut(&acked.ticket) {
                        view.unsure.push((acked.seq, Some(acked.id)));
                    }
                }
                _ => {}
            }
        }
        for view in views.into_values() {
            let epoch = history.epochs.get(view.ticket as usize);
            view.end(epoch, truth, &mut meanings, verdict);
        }
    }
}

impl<'a> View<'a> {
    fn new(client: &'a Client, ticket: Ticket) -> Self {
        Self {
            client,
            ticket,
            epoch: None,
            spans: Vec::new(),
            have: BTreeMap::new(),
            places: HashMap::new(),
            live: false,
            owed: false,
            unsure: Vec::new(),
            recoveries: Vec::new(),
        }
    }

    /// What comes is no continuation before the next join.
    fn stop(&mut self) {
        self.live = false;
    }

    fn name(&self) -> String {
        format!("client {} in ticket {}", self.client.number, self.ticket)
    }

    fn position(&self) -> u64 {
        self.spans.last().map_or(0, |(_, to)| *to)
    }

    fn joined(&mut self, joined: &Joined, meanings: &mut Meanings, verdict: &mut Verdict) {
        let same = self.epoch.as_ref() == Some(&joined.now.epoch);
        if same {
            self.settle(meanings, verdict);
        } else {
            // The old copy is void, and so is what was seen without knowing the epoch.
            self.epoch = Some(Arc::clone(&joined.now.epoch));
            self.spans.clear();
            self.have.clear();
            self.places.clear();
            self.recoveries.clear();
            self.unsure.clear();
        }
        for message in &joined.messages {
            self.keep(*message, verdict);
            self.unsure.push((message.seq, Some(message.id)));
        }
        let since = joined.since.as_ref().map(|since| since.seq);
        match (joined.recovered, since, self.spans.last_mut()) {
            (true, Some(since), Some(span)) if same && since <= span.1 => {
                let ids = joined.messages.iter().map(|message| message.id).collect();
                self.recoveries.push((since, joined.now.seq, ids));
                span.1 = span.1.max(joined.now.seq);
            }
            (true, _, _) => verdict.found(Fault::Partial, || {
                format!(
                    "{}: told that it recovered what it had no part of",
                    self.name()
                )
            }),
            (false, ..) => {
                let whole = joined.messages.len() < LATEST;
                let first = joined.messages.first().filter(|_| !whole);
                let from = first.map_or(0, |message| message.seq.saturating_sub(1));
                self.spans.push((from, joined.now.seq));
            }
        }
        self.live = true;
        self.owed = false;
    }

    fn event(&mut self, seq: u64, prev: u64, message: Option<Heard>, verdict: &mut Verdict) {
        self.unsure.push((seq, message.map(|message| message.id)));
        if !self.live {
            return;
        }
        let position = self.position();
        let next = match self.client.side {
            UserType::Agent => seq == position + 1,
            UserType::User => prev == position && seq > position,
        };
        if next && !self.owed {
            if let Some(message) = message {
                self.keep(message, verdict);
            }
            if let Some(span) = self.spans.last_mut() {
                span.1 = seq;
            }
        } else if seq > position {
            self.owed = true;
        } else if message.is_none_or(|m| self.have.get(&seq).is_some_and(|have| have.id == m.id)) {
            verdict.found(Fault::Repeated, || {
                format!("{}: {seq} came twice", self.name())
            });
        } else {
            verdict.found(Fault::Reordered, || {
                format!("{}: {seq} came after {position}", self.name())
            });
        }
    }

    fn keep(&mut self, message: Heard, verdict: &mut Verdict) {
        if let Some(key) = message.key
            && let Some(place) = self.places.insert(key, message.seq)
            && place != message.seq
        {
            verdict.found(Fault::Doubled, || {
                format!(
                    "{}: has {key} at {place} and at {}",
                    self.name(),
                    message.seq
                )
            });
        }
        self.have.insert(message.seq, message);
    }

    /// What was seen was seen in this epoch.
    fn settle(&mut self, meanings: &mut Meanings, verdict: &mut Verdict) {
        let Some(epoch) = self.epoch.clone() else {
            return;
        };
        for (seq, id) in std::mem::take(&mut self.unsure) {
            let place = (self.ticket, Arc::clone(&epoch), seq);
            let meaning = *meanings.entry(place).or_insert(id);
            if meaning != id {
                verdict.found(Fault::Twice, || {
                    format!(
                        "{}: {seq} is {id:?}, and {meaning:?} to somebody else",
                        self.name()
                    )
                });
            }
        }
    }

    fn end(
        mut self,
        epoch: Option<&Arc<str>>,
        truth: &Truth<'_>,
        meanings: &mut Meanings,
        verdict: &mut Verdict,
    ) {
        if self.epoch.is_none() || self.epoch.as_ref() != epoch {
            verdict.found(Fault::Unnoticed, || {
                format!(
                    "{}: has epoch {:?}, the ticket {epoch:?}",
                    self.name(),
                    self.epoch
                )
            });
            return;
        }
        self.settle(meanings, verdict);
        let head = truth.head(self.ticket, self.client.side);
        if self.position() != head || self.owed {
            verdict.found(Fault::Unnoticed, || {
                format!(
                    "{}: stands at {}, the ticket at {head}",
                    self.name(),
                    self.position()
                )
            });
        }
        let mut missing = 0;
        for message in truth.visible(self.ticket, self.client.side) {
            let claimed = self
                .spans
                .iter()
                .any(|(from, to)| message.seq > *from && message.seq <= *to);
            if claimed
                && self
                    .have
                    .get(&message.seq)
                    .is_none_or(|have| have.id != message.id)
            {
                missing += 1;
                if truth.acked.contains_key(&message.id) {
                    verdict.lost(message.id, || {
                        format!("{}: lacks {}", self.name(), message.seq)
                    });
                }
            }
        }
        if missing > 0 {
            verdict.found(Fault::Unnoticed, || {
                format!("{}: lacks {missing} messages", self.name())
            });
        }
        for heard in self.have.values() {
            if truth
                .at(self.ticket, heard.seq)
                .is_none_or(|stored| stored.id != heard.id)
            {
                verdict.found(Fault::Phantom, || {
                    format!("{}: has {} that is not stored", self.name(), heard.seq)
                });
            }
        }
        self.recovered(truth, verdict);
    }

    /// Whether every answer that claimed to be whole was.
    fn recovered(&self, truth: &Truth<'_>, verdict: &mut Verdict) {
        for (since, until, ids) in &self.recoveries {
            let within = |seq: u64| seq > *since && seq <= *until;
            let lacking = truth
                .visible(self.ticket, self.client.side)
                .filter(|message| within(message.seq) && !ids.contains(&message.id))
                .count();
            if lacking > 0 {
                verdict.found(Fault::Partial, || {
                    format!(
                        "{}: {lacking} missing between {since} and {until}",
                        self.name()
                    )
                });
            }
        }
    }
}
