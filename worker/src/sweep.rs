//! Looks for entries that vanished from a stream before they were persisted: the stream was deleted or trimmed by hand,
//! or evicted, or its group was moved.
//!
//! A ticket whose watermark is below its newest number, while everything older than that has left the stream, will not be
//! persisted by itself. Its own log still has the entries: they are put back into the stream. What the log does not have
//! is looked for in MongoDB; what is nowhere is counted and logged as lost, and then waited for no longer.
//!
//! Workers may do this side by side: who takes note of a ticket first looks after it, and persisting anything twice changes
//! nothing.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use fred::{clients::Client, error::Error, interfaces::StreamsInterface, types::Value};
use ticket_shared::{
    id::Id,
    stream::{FIELD, GROUP, Keys},
};
use tokio_util::sync::CancellationToken;

use crate::{
    delivery::{Delivery, Unexpected},
    metrics::Metrics,
    script::{Call, Script},
    store::{Failure, Store},
    watermark::Watermark,
};

mod decide;
mod mend;
mod parse;

use decide::Vanished;
use parse::{Look, Survey};

/// How often.
const INTERVAL: Duration = Duration::from_secs(2);
/// For how long a ticket must have waited.
const GRACE: Duration = Duration::from_secs(2);
/// How many tickets of a partition are looked at in one go.
const TICKETS: usize = 64;
/// How many entries of one ticket.
const ENTRIES: usize = 1_000;
/// How many parked entries of a partition are known to be parked. Operators are told of them long before.
const PARKED: u64 = 10_000;

/// Why a partition was not looked at.
#[derive(Debug, thiserror::Error)]
enum Unswept {
    #[error("{0}")]
    Redis(#[from] Error),
    #[error(transparent)]
    Reply(#[from] Unexpected),
    #[error("{0}")]
    Mongo(#[from] Failure),
    #[error("no random numbers: {0}")]
    Random(#[from] std::io::Error),
}

/// Looks after entries that vanished.
#[derive(Debug)]
pub(crate) struct Sweeper {
    redis: Client,
    keys: Keys,
    store: Store,
    watermark: Watermark,
    metrics: Metrics,
    survey: Script,
    look: Script,
    restore: Script,
    forget: Script,
}

/// A ticket that waits, and since when.
#[derive(Debug)]
struct Waiting {
    ticket: Id,
    since: String,
}

impl Sweeper {
    pub(crate) fn new(
        redis: Client,
        keys: Keys,
        store: Store,
        metrics: Metrics,
        hot_for: Duration,
    ) -> Self {
        Self {
            redis,
            watermark: Watermark::new(keys.clone(), hot_for),
            keys,
            store,
            metrics,
            survey: Script::new(include_str!("sweep/survey.lua")),
            look: Script::new(include_str!("sweep/look.lua")),
            restore: Script::new(include_str!("sweep/restore.lua")),
            forget: Script::new(include_str!("sweep/forget.lua")),
        }
    }

    /// Looks at all partitions, time and again, until the process stops.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        // Tickets that are busy wait for long, and must not keep those behind them from being looked at.
        let mut passed = vec![0; usize::from(self.keys.partitions())];
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            for (partition, passed) in (0..).zip(&mut passed) {
                if stopping.is_cancelled() {
                    return;
                }
                match self.sweep(partition, *passed).await {
                    Ok(seen) if seen == TICKETS => *passed += seen,
                    Ok(_) => *passed = 0,
                    // The readers meet the same failures and say so.
                    Err(error) => tracing::debug!(partition, error = %error, "partition not swept"),
                }
            }
        }
    }

    /// Looks at some tickets of a partition. Answers how many.
    async fn sweep(&self, partition: u16, passed: usize) -> Result<usize, Unswept> {
        let call = Call {
            keys: vec![self.keys.events(partition), self.keys.dirty(partition)],
            args: vec![
                GROUP.into(),
                i64::try_from(GRACE.as_millis()).unwrap_or(0).into(),
                i64::try_from(passed).unwrap_or(0).into(),
                i64::try_from(TICKETS).unwrap_or(0).into(),
            ],
        };
        let Some(Survey { before, waiting }) = parse::survey(self.ask(&self.survey, call).await?)?
        else {
            return Ok(0);
        };
        if waiting.is_empty() {
            return Ok(0);
        }
        let looks: Vec<Call> = waiting
            .iter()
            .map(|waiting| self.look_call(waiting.ticket, &before))
            .collect();
        let mut parked = None;
        for (waiting, answer) in waiting.iter().zip(self.look.run(&self.redis, &looks).await) {
            let ticket = waiting.ticket;
            let looked = match answer {
                Ok(answer) => parse::look(answer),
                // A key of another type: the others are no worse for it.
                Err(error) => {
                    tracing::debug!(ticket.id = %ticket, error = %error, "ticket not looked at");
                    continue;
                }
            };
            match looked? {
                Look::Waits => {}
                Look::Clean => self.watermark.raise(&self.redis, [(ticket, None)]).await?,
                look => {
                    if parked.is_none() {
                        parked = Some(self.parked(partition).await?);
                    }
                    let parked = parked.get_or_insert_default();
                    match look {
                        Look::Vanished(vanished) => self.mend(waiting, vanished, parked).await?,
                        Look::Orphan { frames, sent } => {
                            self.bury(waiting, frames, sent, parked).await?;
                        }
                        Look::Waits | Look::Clean => {}
                    }
                }
            }
        }
        Ok(waiting.len())
    }

    fn look_call(&self, ticket: Id, before: &str) -> Call {
        Call {
            keys: vec![
                self.keys.state(ticket),
                self.keys.log(ticket),
                self.keys.ahead(ticket),
                self.keys.idem(ticket),
            ],
            args: vec![before.into(), i64::try_from(ENTRIES).unwrap_or(0).into()],
        }
    }

    /// What is parked is not put back: an operator decides on it.
    async fn parked(&self, partition: u16) -> Result<HashSet<Bytes>, Unswept> {
        let key = self.keys.dead(partition);
        let reply: Value = self.redis.xrange(key, "-", "+", Some(PARKED)).await?;
        let parked = Delivery::of_range(reply, partition)?;
        let frames = parked.iter().filter_map(|entry| entry.field(FIELD));
        Ok(frames.cloned().collect())
    }

    async fn ask(&self, script: &Script, call: Call) -> Result<Value, Error> {
        let answers = script.run(&self.redis, &[call]).await;
        answers.into_iter().next().unwrap_or(Ok(Value::Null))
    }
}
