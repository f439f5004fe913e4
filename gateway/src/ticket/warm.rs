//! Bringing a ticket back into Redis, numbering those of the former server on the way.
//!
//! A ticket leaves Redis only once all of it is in MongoDB, so then what MongoDB says is all there is. But any of its keys
//! may go by itself, be evicted or deleted by hand; then the ticket is put together from everything that still has a part
//! of it: MongoDB, its state, its log, and the stream that the workers read. With it come the ids of all its messages that
//! a client named, so that a repeat is found however late it comes, without asking MongoDB at every send.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ticket_shared::{
    id::Id,
    stream::{Base, Entry, HELD, Head, Numbers},
};

mod adopt;
mod former;
mod merge;
mod parked;
mod put;
mod salvage;
mod stage;
mod vouch;

use merge::{Line, Whole};
use salvage::Salvage;
pub(super) use salvage::later;

use super::{Tickets, view::Which};
use crate::{
    error::Error,
    store::{Edge, Stored},
};

/// More messages than Redis could have lost, or be owing to MongoDB, of one ticket.
const MOST: usize = 100_000;
/// Maximum time for putting a ticket together: less than an adoption leaves its mark.
const LOAD: Duration = Duration::from_mins(2);
/// How often a ticket is put together where it changes meanwhile.
const TRIES: usize = 5;

/// Tickets that are being loaded: many who ask for the same one wait for one load.
#[derive(Default)]
pub(super) struct Loading(Mutex<HashMap<Id, Arc<tokio::sync::Mutex<()>>>>);

impl Loading {
    fn of(&self, id: Id) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, waiting| Arc::strong_count(waiting) > 1);
        Arc::clone(all.entry(id).or_default())
    }
}

/// What a ticket is put back with.
struct Warmth {
    state: Vec<(&'static str, String)>,
    seq: u64,
    log: Vec<Line>,
    sent: HashMap<Id, u64>,
    owed: Vec<Entry>,
    ahead: Vec<(u64, u64)>,
    /// Whether all of it is in MongoDB.
    clean: bool,
}

impl From<Whole> for Warmth {
    fn from(whole: Whole) -> Self {
        let (numbers, persisted) = (&whole.numbers, whole.persisted);
        Self {
            state: state(&whole.base, &whole.head, numbers, persisted, whole.floor, 0),
            seq: numbers.seq,
            clean: persisted >= numbers.seq,
            log: whole.log,
            sent: whole.sent,
            owed: Vec::new(),
            ahead: whole.ahead,
        }
    }
}

impl Tickets {
    /// Puts a ticket into Redis, unless it is there and whole.
    ///
    /// # Errors
    /// [`Error::TicketNotFound`]; or Redis or MongoDB can't be reached, or entries of it are on their way to MongoDB and
    /// nowhere else.
    pub(super) async fn warm(&self, id: Id) -> Result<(), Error> {
        let loading = self.0.loading.of(id);
        let mut turn = loading.lock().await;
        for _ in 0..TRIES {
            // Redis first: what the workers bring to MongoDB meanwhile is then seen twice, not missed.
            let Some(mut salvage) = self.released(id).await? else {
                return Ok(());
            };
            if salvage.fits.is_some() {
                if salvage.server.is_empty() {
                    // Everybody waits for that at the same time, not one after the other.
                    drop(turn);
                    self.settled(self.0.keys.partition(id)).await?;
                    turn = loading.lock().await;
                    continue;
                }
                if self.vouch(id, &salvage).await? {
                    return Ok(());
                }
                let Some(now) = self.salvage(id, true).await? else {
                    return Ok(());
                };
                salvage = now;
            }
            match self.put_together(id, salvage).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Error::Unavailable { part: "mongo", .. }) if self.accept_former(id).await? => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unavailable {
            part: "redis",
            reason: "the ticket changes while it is put together".into(),
        })
    }

    /// Puts a ticket into Redis in the place of what `salvage` holds. Answers whether it did, or that has changed.
    async fn put_together(&self, id: Id, mut salvage: Salvage) -> Result<bool, Error> {
        if salvage.takeover.starts_with(HELD) {
            return Ok(false);
        }
        let began = Instant::now();
        let stored = self.0.store.ticket(id).await?;
        if stored.is_none() && salvage.is_empty() {
            return Err(Error::TicketNotFound);
        }
        let read = [
            salvage
                .state
                .as_ref()
                .map_or_else(String::new, |state| state.numbers.seq.to_string()),
            salvage.length.to_string(),
            salvage.last_id.clone(),
            salvage.takeover.clone(),
        ];
        if salvage.is_blind() {
            self.scan(id, &mut salvage).await?;
            // What is below may be in MongoDB, or lost: a worker's sweep says which, and counts it.
            if !salvage.begins() {
                return Err(later());
            }
        }
        salvage.add_parked();
        let (seq, entries) = (salvage.newest(None), salvage.entries.len());
        let (known, fits) = (!salvage.is_empty(), salvage.fits.clone());
        let server = salvage.server.clone();
        let warmth = self.gather(id, salvage, stored).await?;
        let lost = warmth.seq - seq;
        if known && fits.is_none() {
            tracing::warn!(
                ticket.id = %id,
                redis.seq = seq,
                redis.entries = entries,
                ticket.seq = warmth.seq,
                "what redis had of a ticket did not fit together, put together anew"
            );
        }
        if began.elapsed() > LOAD || !self.put(id, read, server, warmth).await? {
            return Ok(false);
        }
        if let Some(epoch) = fits.filter(|_| lost > 0) {
            tracing::error!(ticket.id = %id, redis.seq = seq, entries = lost, "redis lost entries that mongodb has");
            self.end_epoch(id, &epoch).await?;
            return Ok(false);
        }
        Ok(true)
    }

    async fn gather(
        &self,
        id: Id,
        mut salvage: Salvage,
        stored: Option<Stored>,
    ) -> Result<Warmth, Error> {
        let store = &self.0.store;
        let numbering = salvage.numbering();
        match stored {
            Some(stored) if numbering.is_some() || !stored.numbered => {
                let first = salvage.entries.values().find(|kept| !kept.stored());
                let upto = numbering.or_else(|| first.map(|kept| kept.entry.seq - 1));
                let mut messages = store.unnumbered(id, upto).await?;
                let needed = adopt::needed(&messages.messages);
                store.complete(id, &mut messages, needed).await?;
                adopt::adopted(id, salvage, stored, messages, upto).ok_or_else(later)
            }
            stored => {
                let above = (Some(merge::lowest(&salvage, stored.as_ref())), None);
                let messages = store
                    .messages(id, above, MOST, Edge::Oldest, Which::Messages)
                    .await?;
                let sent = store.client_ids(id).await?;
                let open = merge::open(&salvage, stored.as_ref(), &messages);
                let audited = store.audited(id, &open).await?;
                if audited.len() < open.len() {
                    self.scan(id, &mut salvage).await?;
                }
                let whole = merge::merge(id, salvage, stored.as_ref(), messages, sent, &audited);
                whole.map(Warmth::from).ok_or_else(later)
            }
        }
    }
}

/// What a counter's epoch is called where Redis has none: Redis is new, or lost its data.
pub(super) fn fresh_epoch() -> Result<String, Error> {
    Ok(Id::fresh()?.to_string())
}

fn state(
    base: &Base,
    head: &Head,
    numbers: &Numbers,
    persisted: u64,
    floor: u64,
    adopted: u64,
) -> Vec<(&'static str, String)> {
    let json = |value: serde_json::Result<String>| value.unwrap_or_default();
    let mut fields = vec![
        ("seq", numbers.seq.to_string()),
        ("pub", numbers.public_seq.to_string()),
        ("persisted", persisted.to_string()),
        ("floor", floor.to_string()),
        ("count", numbers.message_count.to_string()),
        ("updatedAt", numbers.updated_at.to_string()),
        ("pubAt", numbers.public_at.to_string()),
        ("head", json(serde_json::to_string(head))),
        ("base", json(serde_json::to_string(base))),
    ];
    if let Some(last) = &numbers.last {
        fields.push(("last", json(serde_json::to_string(last))));
    }
    if adopted > 0 {
        fields.push(("adopted", adopted.to_string()));
    }
    fields
}
