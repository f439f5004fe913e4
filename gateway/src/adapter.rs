//! What carries cluster-wide events (the agents' queue, availability, forced disconnects) between gateways:
//! socketioxide's Redis adapter on a driver of our own.
//!
//! The adapter publishes an event before it delivers it to local sockets, and gives up on both where publishing
//! fails; and fred forgets its subscriptions with each connection. So, of this driver, it must hold:
//! - Publishing never waits and never fails. Events go through a bounded queue in order; what Redis does not
//!   take within two seconds is dropped and counted, because nobody is helped by an old event.
//! - Subscribing never fails. Channels are subscribed in the background, again after every reconnect, and now
//!   and then without a reason, for as long as somebody listens. A gateway starts without Redis.
//! - Delivery is at most once. Nothing that must arrive travels here: ticket events have a log.
//!
//! Channels are sharded ones, so that all of this works on Redis Cluster.

use std::{convert::Infallible, sync::Arc, time::Duration};

use fred::interfaces::ClientLike;
use socketioxide_redis::{
    CustomRedisAdapter,
    drivers::{ChanItem, Driver, MessageStream},
};
use ticket_shared::{
    config::BadSetting,
    lifecycle::Lifecycle,
    redis::{self, Entrance},
};
use tokio::sync::mpsc;

mod metrics;
mod publisher;
mod subscriptions;

pub use metrics::DriverMetrics;

use publisher::Publisher;
use subscriptions::Subscriptions;

/// The adapter that the gateway's Socket.IO server is built with.
pub type Adapter = CustomRedisAdapter<socketioxide::adapter::Emitter, FredDriver>;

/// How long a start waits for Redis before it goes on without.
const FIRST_CONNECT: Duration = Duration::from_millis(500);

/// How long a connection gets to say good-bye.
const QUIT: Duration = Duration::from_secs(1);

/// The driver. Clones share its two connections: subscriptions have one of their own, so that a burst of events
/// does not hold up publishing.
#[derive(Clone, Debug)]
pub struct FredDriver {
    publisher: Publisher,
    subscriptions: Arc<Subscriptions>,
}

impl FredDriver {
    /// Starts a driver, which works until the process is stopping. Redis need not be there.
    ///
    /// # Errors
    /// Names `REDIS_URL` where it is no URL of a Redis server.
    pub async fn start(
        entrance: &Entrance,
        life: &Lifecycle,
        metrics: DriverMetrics,
    ) -> Result<Self, BadSetting> {
        let publisher = redis::client(entrance.url())?;
        let subscriber = redis::subscriber(entrance.url())?;
        redis::stay_on_primary(&publisher, &subscriber, life);
        let driver = Self {
            publisher: Publisher::start(publisher.clone(), entrance, life, metrics.clone()),
            subscriptions: Subscriptions::start(subscriber.clone(), entrance, life, metrics),
        };
        // A gateway that starts beside a healthy Redis hears everything from the first moment.
        let connected =
            futures::future::join(publisher.wait_for_connect(), subscriber.wait_for_connect());
        if tokio::time::timeout(FIRST_CONNECT, connected)
            .await
            .is_err()
        {
            tracing::warn!("redis is not there yet, starting without the other gateways");
        }
        Ok(driver)
    }

    /// Whether this gateway hears the others: it is connected, and subscribed to every channel.
    pub fn subscribed(&self) -> bool {
        self.subscriptions.complete()
    }
}

impl Driver for FredDriver {
    /// Nothing here fails: the adapter would turn a failure into silence on this gateway, too.
    type Error = Infallible;

    async fn publish(&self, channel: String, payload: Vec<u8>) -> Result<(), Infallible> {
        self.publisher.push(channel, payload);
        Ok(())
    }

    async fn subscribe(
        &self,
        channel: String,
        size: usize,
    ) -> Result<MessageStream<ChanItem>, Infallible> {
        let (to, from) = mpsc::channel(size.max(1));
        self.subscriptions.add(channel, to);
        Ok(MessageStream::new(from))
    }

    async fn unsubscribe(&self, channel: String) -> Result<(), Infallible> {
        self.subscriptions.remove(&channel).await;
        Ok(())
    }

    /// How many gateways listen to a channel, or 1 where Redis does not tell in time.
    ///
    /// The adapter waits for as many answers, less one, where it asks all gateways something (rooms, sockets,
    /// acknowledgements). With 1 it answers at once from this gateway alone, and serves its own sockets; an
    /// error would serve nobody. Who needs the whole answer looks at [`FredDriver::subscribed`], too.
    async fn num_serv(&self, channel: &str) -> Result<u16, Infallible> {
        Ok(self.publisher.listeners(channel).await.unwrap_or(1))
    }
}

/// Ends a connection, without waiting long for a server that does not answer.
async fn quit(client: &impl ClientLike) {
    // There is nothing left to do about a failure: the process is ending.
    let _ = tokio::time::timeout(QUIT, client.quit()).await;
}
