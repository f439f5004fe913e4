//! One batch, from the entries as Redis handed them out to their acknowledgement.
//!
//! The order is MongoDB, then the watermark, then the acknowledgement. A crash after any step leads to a
//! replay, and a replay changes nothing. An entry leaves the stream's pending list only when it is in MongoDB
//! or in the dead stream.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use fred::{clients::Client, error::Error, interfaces::StreamsInterface};
use ticket_shared::{
    id::Id,
    stream::{Change, Entry, FIELD, GROUP, Keys},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    backoff::Backoff,
    dead::{Dead, Reason},
    delivery::Delivered,
    fold::{Scope, Writes, fold, fold_apart, kind},
    metrics::{KindLabel, Metrics, StepLabel},
    probe::{Part, Reporter},
    store::{Effort, Refusal, Refused, Store},
    watermark::Watermark,
};

mod bases;

pub(crate) use bases::Known;

/// How often an entry that MongoDB refuses is tried.
const TRIES: u32 = 5;
/// The pause after the first of them; it doubles. All together stay under a second, which is how long an
/// entry may hold up those that come after it.
const PAUSE: Duration = Duration::from_millis(25);
/// Ids in one XACK.
const ACKS: usize = 1_000;

/// The process is stopping, and what could not be done is left pending for whoever comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopping;

/// Settles batches.
#[derive(Debug)]
pub(crate) struct Settler {
    pub(crate) redis: Client,
    pub(crate) keys: Keys,
    pub(crate) store: Store,
    pub(crate) watermark: Watermark,
    pub(crate) dead: Dead,
    pub(crate) metrics: Metrics,
    pub(crate) reporter: Reporter,
    /// How long an error that is not understood holds up a whole batch.
    pub(crate) park_after: Duration,
    pub(crate) stopping: CancellationToken,
    pub(crate) known: Mutex<Known>,
}

/// A batch that an error holds up which is not understood: counted while it is so.
#[derive(Debug)]
struct Stuck {
    since: Instant,
    metrics: Metrics,
}

impl Stuck {
    fn new(metrics: &Metrics) -> Self {
        tracing::error!("batch held up by an error of mongodb that is not understood");
        metrics.stuck.inc();
        Self {
            since: Instant::now(),
            metrics: metrics.clone(),
        }
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.metrics.stuck.dec();
    }
}

/// An entry and where it came from.
#[derive(Debug)]
struct Work {
    origin: Delivered,
    entry: Entry,
}

/// A batch after a round.
#[derive(Debug, Default)]
struct Sorted {
    /// In MongoDB.
    stored: Vec<Work>,
    /// Refused by MongoDB, and why.
    refused: Vec<(Work, Refusal)>,
    /// Neither: a newer entry of the same ticket spoke for it and was refused.
    open: Vec<Work>,
}

impl Settler {
    /// Persists, parks and acknowledges all of `batch`.
    ///
    /// # Errors
    /// [`Stopping`], with part of the batch still pending.
    pub(crate) async fn settle(&self, batch: Vec<Delivered>) -> Result<(), Stopping> {
        let (entries, began) = (batch.len(), Instant::now());
        let span = tracing::info_span!("batch", batch.entries = entries);
        self.settle_all(batch).instrument(span).await?;
        self.metrics.batches.inc();
        #[expect(clippy::cast_precision_loss, reason = "batches are not that large")]
        self.metrics.batch_entries.observe(entries as f64);
        self.metrics
            .batch_seconds
            .observe(began.elapsed().as_secs_f64());
        tracing::debug!(
            batch.entries = entries,
            batch.ms = began.elapsed().as_millis(),
            "batch settled"
        );
        if self.stopping.is_cancelled() {
            tracing::info!(
                batch.entries = entries,
                "batch in hand settled after the stop was asked for"
            );
        }
        Ok(())
    }

    async fn settle_all(&self, batch: Vec<Delivered>) -> Result<(), Stopping> {
        let (mut todo, unreadable) = read(batch);
        let unreadable: Vec<_> = unreadable.iter().map(|(o, why)| (o, why.clone())).collect();
        self.park(&unreadable, 1).await?;
        let bases = self.bases(&todo).await?;
        let (mut tries, mut stuck) = (0, None);
        while !todo.is_empty() {
            tries += 1;
            let entries: Vec<&Entry> = todo.iter().map(|work| &work.entry).collect();
            // Whatever surfaces after the last try has waited long enough, too, and must not take a round each.
            let mut writes = if tries > TRIES {
                fold_apart(&entries)
            } else {
                fold(&entries)
            };
            writes.open(&entries, &bases);
            let refused = self.store(&writes, &mut stuck).await?;
            let sorted = sort(todo, &refused);
            self.note_stored(&sorted.stored, &bases);
            self.acknowledge(&sorted.stored).await?;
            todo = sorted.open;
            if tries < TRIES {
                todo.extend(sorted.refused.into_iter().map(|(work, _)| work));
                if !todo.is_empty() {
                    self.pause(PAUSE * (1 << (tries - 1))).await;
                }
            } else {
                self.give_up(&sorted.refused, tries).await?;
            }
        }
        Ok(())
    }

    /// Performs `writes`, for as long as it takes. An error that is not understood holds all of them up at first; after
    /// some time, only the documents that it is about.
    async fn store(
        &self,
        writes: &Writes,
        stuck: &mut Option<Stuck>,
    ) -> Result<Vec<Refused>, Stopping> {
        let mut backoff = Backoff::default();
        loop {
            let effort = match stuck {
                Some(stuck) if stuck.since.elapsed() >= self.park_after => Effort::Apart,
                _ => Effort::Together,
            };
            match self.store.perform(writes, effort).await {
                Ok(refused) => {
                    self.reporter.goes_on(Part::Mongo);
                    return Ok(refused);
                }
                Err(error) => {
                    let understood = error.failure.passes();
                    // First the reason, then that it is so.
                    self.failed("store", &error, &mut backoff).await?;
                    if !understood {
                        stuck.get_or_insert_with(|| Stuck::new(&self.metrics));
                    }
                }
            }
        }
    }

    /// Raises the watermarks of `stored` and acknowledges it.
    async fn acknowledge(&self, stored: &[Work]) -> Result<(), Stopping> {
        if stored.is_empty() {
            return Ok(());
        }
        self.raise(stored.iter().map(|work| &work.entry).collect())
            .await?;
        let ids = stored
            .iter()
            .map(|work| (work.origin.partition, work.origin.id.as_str()));
        self.ack(ids.collect()).await?;
        for work in stored {
            let label = KindLabel {
                kind: kind(&work.entry.change),
            };
            self.metrics.persisted.get_or_create(&label).inc();
        }
        Ok(())
    }

    /// Parks what MongoDB refuses. It counts as settled: the watermark must not wait for it for ever. That
    /// comes first, because only an entry that is still pending is replayed after a crash.
    async fn give_up(&self, refused: &[(Work, Refusal)], tries: u32) -> Result<(), Stopping> {
        self.raise(refused.iter().map(|(work, _)| &work.entry).collect())
            .await?;
        let parked: Vec<_> = refused
            .iter()
            .map(|(work, why)| (&work.origin, Reason::Refused(*why)))
            .collect();
        self.park(&parked, tries).await
    }

    async fn raise(&self, entries: Vec<&Entry>) -> Result<(), Stopping> {
        let mut backoff = Backoff::default();
        while let Err(error) = self
            .watermark
            .raise(
                &self.redis,
                entries
                    .iter()
                    .map(|entry| (entry.ticket_id, Some(entry.covers()))),
            )
            .await
        {
            self.failed("watermark", &error, &mut backoff).await?;
        }
        Ok(())
    }

    async fn park(&self, entries: &[(&Delivered, Reason)], tries: u32) -> Result<(), Stopping> {
        let mut backoff = Backoff::default();
        while let Err(error) = self.dead.park(&self.redis, entries, tries).await {
            self.failed("park", &error, &mut backoff).await?;
        }
        Ok(())
    }

    /// Acknowledges entries, given as partition and id, whatever became of them.
    pub(crate) async fn ack(&self, ids: Vec<(u16, &str)>) -> Result<(), Stopping> {
        let mut of_partition: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        for (partition, id) in ids {
            of_partition.entry(partition).or_default().push(id);
        }
        let mut backoff = Backoff::default();
        while let Err(error) = self.send_acks(&of_partition).await {
            self.failed("ack", &error, &mut backoff).await?;
        }
        Ok(())
    }

    async fn send_acks(&self, of_partition: &BTreeMap<u16, Vec<&str>>) -> Result<(), Error> {
        let pipeline = self.redis.pipeline();
        for (&partition, ids) in of_partition {
            for ids in ids.chunks(ACKS) {
                let key = self.keys.events(partition);
                let _: () = pipeline.xack(key, GROUP, ids.to_vec()).await?;
            }
        }
        let answers: Vec<Result<i64, Error>> = pipeline.try_all().await;
        answers.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
    }

    /// Notes a failure and waits before the next attempt.
    async fn failed(
        &self,
        step: &'static str,
        error: &(dyn std::error::Error + Sync),
        backoff: &mut Backoff,
    ) -> Result<(), Stopping> {
        self.metrics
            .retries
            .get_or_create(&StepLabel { step })
            .inc();
        let part = if step == "store" {
            Part::Mongo
        } else {
            Part::Redis
        };
        self.reporter.fails(part, error);
        tracing::warn!(
            step,
            error = %error,
            failures = backoff.failures() + 1,
            "batch step failed, trying again"
        );
        if backoff.wait(&self.stopping).await {
            Ok(())
        } else {
            tracing::warn!(step, "stopping with entries left pending");
            Err(Stopping)
        }
    }

    /// Waits, but not when everybody waits for us to stop.
    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = self.stopping.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Reads entries, and says of those that are none why.
fn read(batch: Vec<Delivered>) -> (Vec<Work>, Vec<(Delivered, Reason)>) {
    let (mut readable, mut unreadable) = (Vec::new(), Vec::new());
    for origin in batch {
        match decode(&origin) {
            Ok(entry) => readable.push(Work { origin, entry }),
            Err(reason) => unreadable.push((origin, reason)),
        }
    }
    (readable, unreadable)
}

fn decode(origin: &Delivered) -> Result<Entry, Reason> {
    let Some(bytes) = origin.field(FIELD) else {
        return Err(Reason::Malformed("it has no field d".into()));
    };
    let entry = Entry::decode(bytes)?;
    if matches!(entry.change, Change::Created { .. }) && entry.base.is_none() {
        return Err(Reason::Malformed("a creation without its base".into()));
    }
    Ok(entry)
}

/// Sorts a batch by what became of it.
fn sort(batch: Vec<Work>, refused: &[Refused]) -> Sorted {
    let why: BTreeMap<usize, Refusal> = refused.iter().map(|r| (r.entry, r.why)).collect();
    let stuck: HashSet<Id> = refused
        .iter()
        .filter(|refused| refused.scope == Scope::Ticket)
        .filter_map(|refused| batch.get(refused.entry))
        .map(|work| work.entry.ticket_id)
        .collect();
    let mut sorted = Sorted::default();
    for (place, work) in batch.into_iter().enumerate() {
        if let Some(why) = why.get(&place) {
            sorted.refused.push((work, *why));
        } else if stuck.contains(&work.entry.ticket_id) {
            sorted.open.push(work);
        } else {
            sorted.stored.push(work);
        }
    }
    sorted
}

#[cfg(test)]
mod tests;
