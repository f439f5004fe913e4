//! The way in: which channels somebody listens to, and the task that keeps Redis of the same opinion.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use fred::{
    clients::SubscriberClient,
    error::Error,
    interfaces::{ClientLike, EventInterface, PubsubInterface},
    types::{Message, config::Server},
};
use socketioxide_redis::drivers::ChanItem;
use ticket_shared::{
    lifecycle::Lifecycle,
    redis::{self, Entrance},
};
use tokio::sync::{
    Notify,
    broadcast::{Receiver, error::RecvError},
    mpsc::{self, error::TrySendError},
};
use tokio_util::sync::CancellationToken;

use super::{DriverMetrics, quit};

/// How often Redis is asked whether it is there, and every channel is subscribed once more. Cluster nodes drop
/// subscriptions of slots that move, and fred does not pass that on.
const SWEEP: Duration = Duration::from_secs(5);

/// How long to wait after the first failure; the double after each further one, up to [`MAX_RETRY`].
const MIN_RETRY: Duration = Duration::from_millis(50);

/// How long to wait at most.
const MAX_RETRY: Duration = Duration::from_secs(2);

/// Who listens to a channel.
#[derive(Debug)]
struct Listener {
    to: mpsc::Sender<ChanItem>,
    /// Whether Redis confirmed the subscription on this connection.
    confirmed: bool,
}

/// The channels of one driver.
#[derive(Debug)]
pub(super) struct Subscriptions {
    client: SubscriberClient,
    listeners: RwLock<HashMap<String, Listener>>,
    changed: Notify,
    metrics: DriverMetrics,
}

impl Subscriptions {
    pub(super) fn start(
        client: SubscriberClient,
        entrance: &Entrance,
        life: &Lifecycle,
        metrics: DriverMetrics,
    ) -> Arc<Self> {
        // Before the connection is made, so that nothing of it is missed.
        let (messages, reconnects) = (client.message_rx(), client.reconnect_rx());
        let connection = entrance.connection(&client);
        let subscriptions = Arc::new(Self {
            client,
            listeners: RwLock::default(),
            changed: Notify::new(),
            metrics,
        });
        let stopping = life.stopping().clone();
        life.spawn_vital(
            "adapter dispatcher",
            subscriptions.clone().dispatch(messages, stopping.clone()),
        );
        life.spawn_vital(
            "adapter subscriber",
            subscriptions.clone().keep(reconnects, connection, stopping),
        );
        subscriptions
    }

    /// Whether everything that somebody listens to is subscribed.
    pub(super) fn complete(&self) -> bool {
        self.client.is_connected() && self.read().values().all(|listener| listener.confirmed)
    }

    /// Listens to a channel from now on. The listener is known before Redis is told, so that the first message
    /// finds it.
    pub(super) fn add(&self, channel: String, to: mpsc::Sender<ChanItem>) {
        let listener = Listener {
            to,
            confirmed: false,
        };
        self.write().insert(channel, listener);
        self.changed.notify_one();
    }

    /// Listens to a channel no longer.
    pub(super) async fn remove(&self, channel: &str) {
        self.write().remove(channel);
        // Without a connection there is no subscription either.
        if self.client.is_connected() {
            let client = self.client.with_options(&redis::hot_path());
            // What still comes finds no listener.
            let _ = client.sunsubscribe(channel).await;
        }
    }

    async fn dispatch(
        self: Arc<Self>,
        mut messages: Receiver<Message>,
        stopping: CancellationToken,
    ) {
        let mut dropping = false;
        loop {
            let delivered = tokio::select! {
                () = stopping.cancelled() => return,
                message = messages.recv() => match message {
                    Ok(message) => self.deliver(message),
                    Err(RecvError::Lagged(missed)) => {
                        self.metrics.lagged.inc_by(missed);
                        false
                    }
                    // Only the end of the client closes it.
                    Err(RecvError::Closed) => return,
                },
            };
            if !delivered && !dropping {
                tracing::warn!("events of other gateways are being dropped: too many at once");
            }
            dropping = !delivered;
        }
    }

    /// Hands a message to its listener; `false` where the listener is behind and it was dropped.
    fn deliver(&self, message: Message) -> bool {
        self.metrics.received.inc();
        let channel = message.channel.to_string();
        let Some(payload) = message.value.into_owned_bytes() else {
            return true;
        };
        let listeners = self.read();
        let Some(listener) = listeners.get(&channel) else {
            return true;
        };
        match listener.to.try_send((channel, payload)) {
            Err(TrySendError::Full(_)) => {
                self.metrics.stream_full.inc();
                false
            }
            // A stream that was closed wants nothing more.
            Ok(()) | Err(TrySendError::Closed(_)) => true,
        }
    }

    async fn keep(
        self: Arc<Self>,
        reconnects: Receiver<Server>,
        connection: impl Future<Output = ()>,
        stopping: CancellationToken,
    ) {
        tokio::select! {
            () = stopping.cancelled() => quit(&self.client).await,
            () = self.subscribe_for_ever(reconnects) => {}
            // It reconnects for ever; where it ends all the same, so does the process.
            () = connection => {}
        }
    }

    async fn subscribe_for_ever(&self, mut reconnects: Receiver<Server>) {
        let mut retry = None;
        loop {
            let mut sweep = false;
            tokio::select! {
                event = reconnects.recv() => match event {
                    // What was missed in a lag were reconnects, too.
                    Ok(_) | Err(RecvError::Lagged(_)) => {
                        self.metrics.reconnects.inc();
                        self.doubt();
                    }
                    Err(RecvError::Closed) => return,
                },
                () = self.changed.notified() => {}
                () = tokio::time::sleep(retry.unwrap_or(SWEEP)) => sweep = retry.is_none(),
            }
            match self.subscribe(sweep).await {
                Ok(()) => {
                    if retry.take().is_some() {
                        tracing::info!("subscribed, other gateways are heard again");
                    }
                }
                Err(error) => {
                    if retry.is_none() {
                        tracing::warn!(error.kind = ?error.kind(), "can't subscribe, trying on");
                    }
                    self.doubt();
                    retry = Some(retry.map_or(MIN_RETRY, |wait: Duration| MAX_RETRY.min(wait * 2)));
                }
            }
        }
    }

    /// Subscribes to the channels that are not confirmed, or on a sweep to all. One after the other: fred
    /// mixes up the answers to several at once, and on a cluster they live on different nodes.
    async fn subscribe(&self, sweep: bool) -> Result<(), Error> {
        let client = self.client.with_options(&redis::hot_path());
        if sweep {
            // fred's watchdog for silent connections does not count commands of pub/sub.
            client.ping::<()>(None).await?;
        }
        let due: Vec<String> = self
            .read()
            .iter()
            .filter(|(_, listener)| sweep || !listener.confirmed)
            .map(|(channel, _)| channel.clone())
            .collect();
        for channel in due {
            client.ssubscribe(channel.as_str()).await?;
            if !self.confirm(&channel) {
                // Removed meanwhile.
                client.sunsubscribe(channel.as_str()).await?;
            }
        }
        Ok(())
    }

    /// Notes that Redis confirmed a channel; `false` where nobody listens to it any more.
    fn confirm(&self, channel: &str) -> bool {
        match self.write().get_mut(channel) {
            Some(listener) => {
                listener.confirmed = true;
                true
            }
            None => false,
        }
    }

    /// Takes no subscription for certain any more.
    fn doubt(&self) {
        for listener in self.write().values_mut() {
            listener.confirmed = false;
        }
    }

    // A panic while the lock was held leaves the map whole: every change to it is one call.
    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Listener>> {
        self.listeners
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, Listener>> {
        self.listeners
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
