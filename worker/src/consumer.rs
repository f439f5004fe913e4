//! Reads the partitions' streams: what was left pending, what others left behind, and what is new.
//!
//! A read that fails may nevertheless have been served: its entries are pending in our name and were never
//! seen. So every failure is followed by a look at our own pending entries.

use std::{collections::HashMap, time::Duration};

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::{ClientLike, StreamsInterface},
    types::Value,
};
use ticket_shared::{
    redis::{Failure, failure},
    stream::GROUP,
};
use tokio::time::Instant;

use crate::{
    backoff::Backoff,
    delivery::{Delivery, Unexpected},
    metrics::StepLabel,
    pace::Pace,
    probe::Part,
    settle::{Settler, Stopping},
};

/// The longest wait after a read that failed: Redis may have a new primary at any time, and is to be read within 5 s.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// Time for a new connection before the next read is tried.
const CONNECTING: Duration = Duration::from_secs(3);

/// Reads some partitions, one batch after the other.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Nothing but blocking reads may use it.
    blocking: Client,
    settler: Settler,
    partitions: Vec<u16>,
    keys: Vec<String>,
    partition_of: HashMap<Vec<u8>, u16>,
    settings: Settings,
}

/// How a reader reads.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Our name in the group.
    pub(crate) consumer: String,
    /// Entries of each partition in one read.
    pub(crate) batch: u64,
    /// To how many that grows while there is a backlog.
    pub(crate) batch_max: u64,
    /// A batch that takes longer is not followed by a larger one.
    pub(crate) patience: Duration,
    /// How long a read waits.
    pub(crate) block: Duration,
    /// How long entries gather before they are read.
    pub(crate) linger: Duration,
    /// After how long an entry of another worker is taken over.
    pub(crate) claim_idle: Duration,
}

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error("{0}")]
    Redis(#[from] Error),
    #[error(transparent)]
    Reply(#[from] Unexpected),
    #[error("stopping")]
    Stopping,
}

impl From<Stopping> for Interrupted {
    fn from(Stopping: Stopping) -> Self {
        Self::Stopping
    }
}

/// What a reader does next.
#[derive(Debug)]
struct Plan {
    /// The groups may not be there.
    groups: bool,
    /// There may be entries pending in our name that we never saw.
    own: bool,
    /// When to look for what others left behind.
    claim: Instant,
    /// Not to read before: so many entries gather meanwhile.
    gather: Instant,
    pace: Pace,
}

impl Reader {
    pub(crate) fn new(
        blocking: Client,
        settler: Settler,
        partitions: Vec<u16>,
        settings: Settings,
    ) -> Self {
        let keys: Vec<String> = partitions
            .iter()
            .map(|&partition| settler.keys.events(partition))
            .collect();
        let names = keys.iter().map(|key| key.clone().into_bytes());
        Self {
            partition_of: names.zip(partitions.iter().copied()).collect(),
            blocking,
            settler,
            partitions,
            keys,
            settings,
        }
    }

    /// Reads and settles until the process stops.
    pub(crate) async fn run(self) {
        let mut plan = Plan {
            groups: true,
            own: true,
            claim: Instant::now(),
            gather: Instant::now(),
            pace: Pace::new(
                self.settings.batch,
                self.settings.batch_max,
                self.settings.patience,
            ),
        };
        let mut backoff = Backoff::up_to(READ_AGAIN);
        let stopping = self.settler.stopping.clone();
        while !stopping.is_cancelled() {
            match self.step(&mut plan).await {
                Ok(()) => {
                    backoff.reset();
                    self.settler.reporter.goes_on(Part::Redis);
                }
                Err(Interrupted::Stopping) => break,
                Err(error) => {
                    plan.own = true;
                    plan.groups |= matches!(&error, Interrupted::Redis(error) if failure(error) == Failure::NoGroup);
                    let step = StepLabel { step: "read" };
                    self.settler.metrics.retries.get_or_create(&step).inc();
                    self.settler.reporter.fails(Part::Redis, &error);
                    tracing::warn!(error = %error, failures = backoff.failures() + 1, "read failed, trying again");
                    self.leave_silence(&error).await;
                    if !backoff.wait(&stopping).await {
                        break;
                    }
                }
            }
        }
        // Redis notices the end of the connection in any case.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.blocking.quit()).await;
    }

    /// Connects anew after a read without an answer: a proxy may swallow everything, and nothing else ends such a connection.
    async fn leave_silence(&self, error: &Interrupted) {
        if matches!(error, Interrupted::Redis(error) if *error.kind() == ErrorKind::Timeout) {
            let _ = tokio::time::timeout(CONNECTING, self.blocking.force_reconnection()).await;
        }
    }

    async fn step(&self, plan: &mut Plan) -> Result<(), Interrupted> {
        if plan.groups {
            self.create_groups().await?;
            plan.groups = false;
        }
        while plan.own {
            let delivery = self.read("0", self.settings.batch, None).await?;
            plan.own = !delivery.is_empty();
            self.settle(delivery).await?;
        }
        if plan.claim <= Instant::now() {
            self.claim().await?;
            plan.claim = Instant::now() + self.settings.claim_idle / 2;
            // It also is our sign of life: older servers take no note of a read that finds nothing new, and a
            // worker that is silent for long counts as gone.
            plan.own = true;
        }
        tokio::select! {
            () = self.settler.stopping.cancelled() => return Ok(()),
            () = tokio::time::sleep_until(plan.gather) => {}
        }
        let (count, block) = (plan.pace.count(), self.settings.block);
        let delivery = self.read(">", count, Some(block)).await?;
        plan.gather = Instant::now() + self.settings.linger;
        self.drain(plan, delivery).await
    }

    /// Settles `delivery`, and what follows for as long as there is a backlog: the next batch is read while this
    /// one is settled. One is settled after the other, so nothing but the read runs ahead; an entry that was read
    /// and is not settled is pending, like any other.
    async fn drain(&self, plan: &mut Plan, mut delivery: Delivery) -> Result<(), Interrupted> {
        loop {
            // Without a backlog, to read ahead would make many small batches of what had become a large one.
            let more = plan.pace.read(&delivery);
            if !more || self.settler.stopping.is_cancelled() || plan.claim <= Instant::now() {
                return self.settle(delivery).await;
            }
            let began = Instant::now();
            let settle = async {
                let settled = self.settle(delivery).await;
                (settled, began.elapsed())
            };
            let ahead = self.read(">", plan.pace.count(), None);
            let ((settled, took), next) = tokio::join!(settle, ahead);
            settled?;
            plan.pace.settled(took);
            delivery = next?;
        }
    }

    /// Creates the groups that are not there, from the very first entry on.
    async fn create_groups(&self) -> Result<(), Error> {
        for key in &self.keys {
            let created: Result<Value, Error> = self
                .settler
                .redis
                .xgroup_create(key, GROUP, "0", true)
                .await;
            match created {
                Ok(_) => tracing::debug!(stream = key, "consumer group created"),
                Err(error) if error.details().starts_with("BUSYGROUP") => {}
                // Redis is full and creates nothing. The group is most likely there, and reading from it is
                // what frees memory; if it is not, the read says so.
                Err(error) if failure(&error) == Failure::Refused => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn read(
        &self,
        from: &str,
        count: u64,
        block: Option<Duration>,
    ) -> Result<Delivery, Interrupted> {
        let block = block.map(|block| u64::try_from(block.as_millis()).unwrap_or(u64::MAX));
        let reply: Value = self
            .blocking
            .xreadgroup(
                GROUP,
                self.settings.consumer.as_str(),
                Some(count),
                block,
                false,
                self.keys.clone(),
                vec![from; self.keys.len()],
            )
            .await?;
        let partition_of = |key: &[u8]| self.partition_of.get(key).copied();
        Ok(Delivery::of_read(reply, partition_of)?)
    }

    /// Takes over what has been pending for too long, whoever it was handed to.
    async fn claim(&self) -> Result<(), Interrupted> {
        let idle = u64::try_from(self.settings.claim_idle.as_millis()).unwrap_or(u64::MAX);
        for (&partition, key) in self.partitions.iter().zip(&self.keys) {
            let mut from = "0-0".to_owned();
            loop {
                let consumer = self.settings.consumer.as_str();
                let count = Some(self.settings.batch);
                let reply: Value = self
                    .settler
                    .redis
                    .xautoclaim(key, GROUP, consumer, idle, from, count, false)
                    .await?;
                let (next, delivery) = Delivery::of_claim(reply, partition)?;
                if !delivery.entries.is_empty() {
                    let claimed = delivery.entries.len();
                    self.settler.metrics.claimed.inc_by(claimed as u64);
                    tracing::info!(partition, entries = claimed, "stale entries claimed");
                }
                self.settle(delivery).await?;
                if next == "0-0" || self.settler.stopping.is_cancelled() {
                    break;
                }
                from = next;
            }
        }
        Ok(())
    }

    async fn settle(&self, delivery: Delivery) -> Result<(), Interrupted> {
        let Delivery { entries, lost } = delivery;
        if !lost.is_empty() {
            // Its ticket's log may still have it; whether it is lost, the sweep says.
            for (partition, id) in &lost {
                tracing::warn!(partition, entry.id = %id, "entry deleted before it was persisted");
            }
            let ids = lost.iter().map(|(partition, id)| (*partition, id.as_str()));
            self.settler.ack(ids.collect()).await?;
        }
        if !entries.is_empty() {
            self.settler.settle(entries).await?;
        }
        Ok(())
    }
}
