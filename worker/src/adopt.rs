//! `ticket-worker adopt`: does for all tickets of another server ahead of time what happens to one of them at its first
//! touch, and puts documents of other shapes into ours by a mapping file.
//!
//! What must hold:
//! - It may be ended anywhere and run again, and runs beside the product: a ticket is claimed in Redis before its messages
//!   are looked at and until they are numbered, and one that Redis holds is left to the product.
//! - The numbers are those that a gateway would give: both order the same messages in the same way.
//! - Nothing is removed but documents that stand under another id by then, and what is replaced is kept.

use std::{io::Write, path::PathBuf, time::Duration};

use clap::Args;
use fred::{clients::Client, interfaces::ClientLike};
use indicatif::{ProgressBar, ProgressStyle};
use ticket_shared::{config::BadSetting, lifecycle::Lifecycle, redis, stream::Keys};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    backoff::Backoff,
    indexes,
    store::{Failure, Store},
};

mod claim;
mod mapping;
mod messages;
mod number;
mod report;
mod scan;
mod tickets;
mod translate;

use claim::Claims;
use mapping::Mapping;
use report::Report;
pub(crate) use scan::Scan;

/// How long a connection to Redis may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How tickets of another server are taken over.
#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub struct Adopt {
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// A file that says under which names the other server kept what we need (TOML; docs/migration.md)
    #[arg(long)]
    pub map: Option<PathBuf>,
    /// At most so many documents a second
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
}

/// Why tickets could not be taken over to the end. What was done stays done.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// A setting, or the mapping file, is wrong.
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// MongoDB is not there, or declines.
    #[error("{0}")]
    Mongo(String),
    /// Redis is not there: it says which tickets are in use.
    #[error("Redis: {0}")]
    Redis(#[from] fred::error::Error),
    /// Another may have taken its tickets meanwhile.
    #[error("was stopped for longer than its claims on tickets hold; run it again to go on")]
    Lost,
    /// The process was asked to stop.
    #[error("stopped before the end; run it again to go on")]
    Stopped,
    /// The report could not be written.
    #[error("can't write: {}", .0.kind())]
    Output(#[from] std::io::Error),
}

impl From<Failure> for AdoptError {
    fn from(failure: Failure) -> Self {
        Self::Mongo(failure.to_string())
    }
}

/// One run.
struct Run<'a> {
    store: &'a Store,
    redis: Client,
    claims: Claims,
    mapping: Mapping,
    dry: bool,
    pace: Pace,
    stopping: CancellationToken,
    bar: ProgressBar,
    report: Report,
}

/// Takes over everything, and writes a report to `out`.
///
/// # Errors
/// [`AdoptError`].
pub(crate) async fn perform(
    adopt: &Adopt,
    config: &Config,
    life: &Lifecycle,
    out: &mut impl Write,
) -> Result<(), AdoptError> {
    let mapping = adopt.map.as_deref().map(Mapping::read).transpose()?;
    let redis = redis::client(&config.common.redis_url)?;
    redis::tell_why(&redis, life);
    match tokio::time::timeout(CONNECT, redis.init()).await {
        Ok(connected) => drop(connected?),
        Err(_) => {
            return Err(
                fred::error::Error::new(fred::error::ErrorKind::Timeout, "no answer").into(),
            );
        }
    }
    let store = Store::open(&config.common.mongo_uri, life.clone()).await;
    let store = store.map_err(|error| Failure::of(&error))?;
    let keys = Keys::new(&config.common.key_prefix, config.common.partitions);
    let mut run = Run {
        store: &store,
        claims: Claims::new(redis.clone(), keys),
        redis,
        mapping: mapping.unwrap_or_default(),
        dry: adopt.dry_run,
        pace: Pace::new(adopt.rate),
        stopping: life.stopping().clone(),
        bar: bar(),
        report: Report::default(),
    };
    let done = run.all().await;
    run.bar.finish_and_clear();
    run.report.write(run.dry, out)?;
    // Redis notices the end of the connection in any case.
    let _ = tokio::time::timeout(Duration::from_secs(1), run.redis.quit()).await;
    store.close().await;
    done
}

impl Run<'_> {
    async fn all(&mut self) -> Result<(), AdoptError> {
        if !self.dry {
            self.store.prepare().await?;
            indexes::create_first(self.store).await?;
        }
        let total = self.count("messages").await? + self.count("tickets").await?;
        self.bar.set_length(total);
        self.messages().await?;
        self.tickets().await
    }

    async fn count(&self, collection: &str) -> Result<u64, AdoptError> {
        let reply = self
            .store
            .run(mongodb::bson::doc! { "count": collection })
            .await?;
        let count = reply
            .get("n")
            .and_then(|n| n.as_i64().or_else(|| n.as_i32().map(i64::from)));
        Ok(count
            .and_then(|count| u64::try_from(count).ok())
            .unwrap_or(0))
    }

    /// Notes that documents were looked at, and keeps to the rate.
    async fn passed(&mut self, documents: usize) -> Result<(), AdoptError> {
        self.bar.inc(documents as u64);
        if self.stopping.is_cancelled() {
            return Err(AdoptError::Stopped);
        }
        self.pace.spend(documents).await;
        Ok(())
    }

    /// Tries again what failed for now.
    async fn patiently<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, AdoptError> {
        let mut backoff = Backoff::default();
        loop {
            match attempt().await {
                Ok(done) => return Ok(done),
                Err(failure) if !failure.passes() => return Err(failure.into()),
                Err(failure) => {
                    tracing::warn!(error = %failure, "adoption step failed, trying again");
                }
            }
            if !backoff.wait(&self.stopping).await {
                return Err(AdoptError::Stopped);
            }
        }
    }
}

/// A bound on documents a second.
struct Pace {
    rate: f64,
    began: Instant,
    spent: f64,
}

impl Pace {
    fn new(rate: u32) -> Self {
        Self {
            rate: f64::from(rate),
            began: Instant::now(),
            spent: 0.0,
        }
    }

    async fn spend(&mut self, documents: usize) {
        #[expect(clippy::cast_precision_loss, reason = "pages are not that large")]
        {
            self.spent += documents as f64;
        }
        let due = self.began + Duration::from_secs_f64(self.spent / self.rate);
        tokio::time::sleep_until(due).await;
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = "{bar:40} {pos}/{len} documents, {per_sec}, {eta} left";
    // The template is fixed; where it were wrong, the default style would do.
    bar.set_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar
}
