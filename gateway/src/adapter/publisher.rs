//! The way out: a bounded queue with one consumer, so that events leave in the order in which they came.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fred::{
    clients::Client,
    interfaces::{ClientLike, PubsubInterface},
    types::Value,
};
use futures::{StreamExt, stream::FuturesOrdered};
use ticket_shared::{
    lifecycle::Lifecycle,
    redis::{self, Entrance},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{DriverMetrics, quit};

/// Events that wait for Redis.
const QUEUE: usize = 4_096;

/// Events that are under way at once.
const BATCH: usize = 32;

/// How old an event may be and still be sent.
const FRESH: Duration = Duration::from_secs(2);

/// How often it is looked whether a lost connection is back.
const LOOK: Duration = Duration::from_millis(20);

/// How long the queue must be silent before it closes while the process stops: other tasks may still have
/// something to say.
const SILENCE: Duration = Duration::from_millis(200);

#[derive(Debug)]
struct Queued {
    channel: String,
    payload: Bytes,
    at: Instant,
}

/// The near end of the queue.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    client: Client,
    queue: mpsc::Sender<Queued>,
    metrics: DriverMetrics,
}

impl Publisher {
    pub(super) fn start(
        client: Client,
        entrance: &Entrance,
        life: &Lifecycle,
        metrics: DriverMetrics,
    ) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        let consumer = Consumer {
            client: client.clone(),
            queued,
            metrics: metrics.clone(),
            stopping: life.stopping().clone(),
        };
        let connection = entrance.connection(&client);
        life.spawn_vital("adapter publisher", consumer.run(connection));
        Self {
            client,
            queue,
            metrics,
        }
    }

    /// Queues an event, or drops it where the queue is full.
    pub(super) fn push(&self, channel: String, payload: Vec<u8>) {
        let queued = Queued {
            channel,
            payload: payload.into(),
            at: Instant::now(),
        };
        if self.queue.try_send(queued).is_err() {
            self.metrics.queue_full.inc();
        }
    }

    /// How many subscribers a channel has, where Redis tells.
    pub(super) async fn listeners(&self, channel: &str) -> Option<u16> {
        let client = self.client.with_options(&redis::hot_path());
        let counted: Result<(String, u16), _> = client.pubsub_shardnumsub(channel).await;
        match counted {
            Ok((_, listeners)) => Some(listeners),
            Err(error) => {
                tracing::warn!(error.kind = ?error.kind(), "gateways can't be counted");
                None
            }
        }
    }
}

struct Consumer {
    client: Client,
    queued: mpsc::Receiver<Queued>,
    metrics: DriverMetrics,
    stopping: CancellationToken,
}

impl Consumer {
    async fn run(mut self, connection: impl Future<Output = ()>) {
        let client = self.client.clone();
        tokio::select! {
            () = self.consume() => quit(&client).await,
            // It reconnects for ever; where it ends all the same, so does the process.
            () = connection => {}
        }
    }

    async fn consume(&mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut failing = false;
        loop {
            let taken = tokio::select! {
                biased;
                taken = self.queued.recv_many(&mut batch, BATCH) => taken,
                () = silence(&self.stopping) => 0,
            };
            if taken == 0 {
                return;
            }
            self.hold(&mut batch).await;
            let failed = self.send(&mut batch).await;
            if failed > 0 && !failing {
                tracing::warn!(adapter.failed = failed, "events did not reach redis");
            }
            failing = failed > 0;
        }
    }

    /// Keeps a batch back until there is a connection, less what gets too old meanwhile.
    async fn hold(&self, batch: &mut Vec<Queued>) {
        loop {
            let before = batch.len();
            batch.retain(|queued| queued.at.elapsed() <= FRESH);
            self.metrics.stale.inc_by((before - batch.len()) as u64);
            if batch.is_empty() || self.client.is_connected() {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Sends a batch in one go, and says how many of it Redis did not confirm. Those are not sent again:
    /// Redis may have passed them on.
    async fn send(&self, batch: &mut Vec<Queued>) -> usize {
        let client = self.client.with_options(&redis::hot_path());
        // Commands enter the connection in the order in which they are polled first, which is this order.
        let mut sent: FuturesOrdered<_> = batch
            .drain(..)
            .map(|queued| client.spublish::<(), _, _>(queued.channel, Value::Bytes(queued.payload)))
            .collect();
        let mut failed = 0;
        while let Some(outcome) = sent.next().await {
            if outcome.is_ok() {
                self.metrics.published.inc();
            } else {
                self.metrics.failed.inc();
                failed += 1;
            }
        }
        failed
    }
}

async fn silence(stopping: &CancellationToken) {
    stopping.cancelled().await;
    tokio::time::sleep(SILENCE).await;
}
