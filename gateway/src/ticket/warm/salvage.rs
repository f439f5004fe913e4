//! The parts of a ticket that Redis still has, where the whole of it can't be believed.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use bytes::Bytes;
use fred::{
    interfaces::{ClientLike, StreamsInterface},
    types::Value,
};
use ticket_shared::{
    id::Id,
    redis::hot_path,
    stream::{Change, Entry, FIELD, HELD},
};
use tokio::time::{Instant, sleep};

use super::{
    super::{Tickets, view::View},
    parked::ParkedEntries,
};
use crate::{error::Error, script::Items, store::Stored};

/// Maximum wait for the end of an adoption that numbers the ticket.
const TAKEOVER: Duration = Duration::from_secs(5);
/// Interval at which that is looked for.
const AGAIN: Duration = Duration::from_millis(100);
/// How many entries of the partition's stream are looked through at most for those of one ticket.
const SCAN: usize = 20_000;
/// How many of them at a time.
const CHUNK: u64 = 500;

/// An entry and the text that it was read from, which is kept as it is.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) entry: Entry,
    pub(super) frame: Bytes,
}

impl Kept {
    pub(super) fn read(frame: Bytes) -> Result<Self, Error> {
        let entry = Entry::decode(&frame)?;
        Ok(Self { entry, frame })
    }

    /// Whether warming put it there, from MongoDB.
    pub(super) fn stored(&self) -> bool {
        self.entry.epoch.is_empty()
    }
}

/// Everything that Redis has of a ticket.
#[derive(Debug, Default)]
pub(super) struct Salvage {
    /// The hot state.
    pub(super) state: Option<View>,
    /// Whether something of it is not in MongoDB, as far as is known.
    pub(super) dirty: bool,
    /// The log's length and last id, by which a change of it is seen.
    pub(super) length: u64,
    pub(super) last_id: String,
    /// The entries, by their number.
    pub(super) entries: BTreeMap<u64, Kept>,
    /// The server that it is compared under; empty until numbers continue under it.
    pub(super) server: String,
    /// The epoch, where all of it fits together: what is to be seen is whether the end of it was lost.
    pub(super) fits: Option<String>,
    /// The mark of an adoption that holds the ticket, or did so before; empty if there is none.
    pub(super) takeover: String,
    /// Its parked entries, if its state is gone.
    pub(super) parked: ParkedEntries,
}

impl Salvage {
    fn parse(answer: Value) -> Result<Option<Self>, Error> {
        if !answer.is_array() {
            return Ok(None);
        }
        let mut items = Items::of(answer);
        let state = match items.value() {
            state @ Value::Array(_) => Some(View::state(&mut Items::of(state))?),
            _ => None,
        };
        let mut salvage = Self {
            state,
            dirty: items.number() == 1,
            length: items.number(),
            last_id: items.text().unwrap_or_default(),
            ..Self::default()
        };
        let mut kept = Items::of(items.value());
        while let Some(frame) = kept.bytes() {
            // What is no entry, or stands in another's place, is none of ours.
            if let Ok(kept) = Kept::read(frame) {
                salvage.add(kept);
            }
        }
        salvage.server = items.text().unwrap_or_default();
        salvage.fits = items.text().filter(|epoch| !epoch.is_empty());
        salvage.takeover = items.text().unwrap_or_default();
        let mut parked = Items::of(items.value());
        while let Some(frame) = parked.bytes() {
            salvage.parked.add(frame);
        }
        Ok(Some(salvage))
    }

    /// Adds an entry, unless the state says that it was never appended.
    fn add(&mut self, kept: Kept) {
        let seq = kept.entry.seq;
        if self
            .state
            .as_ref()
            .is_none_or(|state| seq <= state.numbers.seq)
        {
            self.entries.entry(seq).or_insert(kept);
        }
    }

    /// Whether Redis has nothing of the ticket, and knows of nothing.
    pub(super) fn is_empty(&self) -> bool {
        let entries = !self.entries.is_empty() || !self.parked.is_empty();
        self.state.is_none() && !entries && !self.dirty
    }

    /// Takes the parked entries for what they are: appended, and not in MongoDB.
    pub(super) fn add_parked(&mut self) {
        for kept in std::mem::take(&mut self.parked.readable) {
            self.add(kept);
        }
    }

    /// Whether there must be entries that neither state nor log tell of.
    pub(super) fn is_blind(&self) -> bool {
        self.dirty && self.state.is_none() && self.entries.values().all(Kept::stored)
    }

    /// Whether nothing is missing below the first entry that may not be in MongoDB.
    pub(super) fn begins(&self) -> bool {
        let first = self.entries.values().find(|kept| !kept.stored());
        first.is_some_and(|first| {
            let seq = first.entry.seq;
            seq == 1 || self.entries.contains_key(&(seq - 1))
        })
    }

    /// The newest number that was given out, as far as is known.
    pub(super) fn newest(&self, stored: Option<&Stored>) -> u64 {
        let state = self.state.as_ref().map(|state| state.numbers.seq);
        let entry = self.entries.keys().next_back().copied();
        let stored = stored.map(|stored| stored.numbers.seq);
        let unreadable = self.parked.unreadable.last().copied();
        [state, entry, stored, unreadable]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or(0)
    }

    /// Up to here everything is in MongoDB. Too low is harmless.
    pub(super) fn persisted(&self, newest: u64) -> u64 {
        match &self.state {
            Some(state) => state.persisted,
            None => self
                .entries
                .values()
                .find(|kept| !kept.stored())
                .map_or(newest, |first| first.entry.covers().0 - 1),
        }
    }

    /// The highest number of a former server's ticket, while MongoDB does not have all of these numbers.
    pub(super) fn numbering(&self) -> Option<u64> {
        let state = self.state.as_ref()?;
        state.numbering().then_some(state.adopted)
    }
}

impl Tickets {
    /// Reads what Redis has of a ticket, its log too where that does not fit or is asked for; nothing where all of it is
    /// there and was compared.
    pub(super) async fn salvage(&self, id: Id, with_log: bool) -> Result<Option<Salvage>, Error> {
        let keys = &self.0.keys;
        let partition = keys.partition(id);
        let names = vec![
            keys.state(id),
            keys.log(id),
            keys.idem(id),
            keys.dirty(partition),
            keys.epoch(partition),
            keys.takeover(id),
            keys.dead(partition),
        ];
        let args = vec![
            id.to_string().into(),
            if with_log { "1" } else { "0" }.into(),
        ];
        Salvage::parse(self.0.salvage.call(&self.0.redis, names, args).await?)
    }

    /// The same, once no adoption holds the ticket.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if one holds it for longer than [`TAKEOVER`].
    pub(super) async fn released(&self, id: Id) -> Result<Option<Salvage>, Error> {
        let end = Instant::now() + TAKEOVER;
        loop {
            match self.salvage(id, false).await? {
                Some(salvage) if salvage.takeover.starts_with(HELD) => {}
                found => return Ok(found),
            }
            if Instant::now() >= end {
                return Err(Error::Unavailable {
                    part: "mongodb",
                    reason: "an adoption is numbering the ticket".into(),
                });
            }
            sleep(AGAIN).await;
        }
    }

    /// Adds to `salvage` the entries of the ticket that are in its partition's stream.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where they can't all be had: the workers bring them to MongoDB first.
    pub(super) async fn scan(&self, id: Id, salvage: &mut Salvage) -> Result<(), Error> {
        let redis = self.0.redis.with_options(&hot_path());
        let key = self.0.keys.events(self.0.keys.partition(id));
        let own = format!("\"t\":\"{id}\"");
        let (mut end, mut seen) = ("+".to_owned(), 0);
        loop {
            let found: Vec<(String, HashMap<String, Bytes>)> =
                redis.xrevrange_values(&key, end, "-", Some(CHUNK)).await?;
            let Some((last, _)) = found.last() else {
                return Ok(());
            };
            end = format!("({last}");
            seen += found.len();
            for (_, mut fields) in found {
                let Some(frame) = fields.remove(FIELD) else {
                    continue;
                };
                if !contains(&frame, own.as_bytes()) {
                    continue;
                }
                match Kept::read(frame) {
                    Ok(kept) if matches!(kept.entry.change, Change::Adopted { .. }) => {
                        return Err(later());
                    }
                    Ok(kept) if kept.entry.ticket_id == id => salvage.add(kept),
                    _ => {}
                }
            }
            if seen >= SCAN {
                return Err(later());
            }
        }
    }
}

/// What is said while entries that were acknowledged are on their way to MongoDB, and nowhere else.
pub(in crate::ticket) fn later() -> Error {
    Error::Unavailable {
        part: "redis",
        reason: "entries of the ticket are missing in its log, and not in MongoDB yet".into(),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
