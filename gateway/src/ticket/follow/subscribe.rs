//! Subscriptions to tickets' channels: made and ended in the order in which that was wanted, and made again
//! after every reconnect.

use std::{sync::atomic::Ordering, time::Duration};

use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use ticket_shared::{
    id::Id,
    lifecycle::Lifecycle,
    redis::{failure, hot_path},
};
use tokio::sync::{broadcast::error::RecvError, mpsc, oneshot};

use super::Follower;
use crate::error::Error;

/// What the task that subscribes is told.
pub(super) enum Wish {
    /// Somebody is in the ticket now.
    Subscribe(Id, oneshot::Sender<Result<(), Error>>),
    /// Nobody is any more.
    Unsubscribe(Id),
    /// The connection is a new one: nothing is subscribed.
    Renew,
}

impl Follower {
    /// Asks for every subscription again whenever the connection was made.
    pub(super) async fn watch(self, life: Lifecycle) {
        let mut reconnects = self.0.client.reconnect_rx();
        if self.0.client.is_connected() {
            let _ = self.0.wishes.send(Wish::Renew);
        }
        loop {
            tokio::select! {
                () = life.stopping().cancelled() => return,
                // Lagging means that there were several; one renewal serves them all.
                reconnected = reconnects.recv() => match reconnected {
                    Err(RecvError::Closed) => return,
                    _ => drop(self.0.wishes.send(Wish::Renew)),
                },
            }
        }
    }

    /// Makes and ends subscriptions, in order.
    pub(super) async fn subscribe(
        self,
        mut wishes: mpsc::UnboundedReceiver<Wish>,
        life: Lifecycle,
    ) {
        loop {
            let wish = tokio::select! {
                () = life.stopping().cancelled() => return,
                wish = wishes.recv() => wish,
            };
            let channel = |ticket| self.0.shared.tickets.keys().live(ticket);
            match wish {
                None => return,
                Some(Wish::Subscribe(ticket, done)) => {
                    let client = self.0.client.with_options(&hot_path());
                    let subscribed = client
                        .ssubscribe(channel(ticket))
                        .await
                        .map_err(Error::from);
                    // A task that no longer waits has ended.
                    let _ = done.send(subscribed);
                }
                Some(Wish::Unsubscribe(ticket)) => {
                    if let Err(error) = self
                        .0
                        .client
                        .with_options(&hot_path())
                        .sunsubscribe(channel(ticket))
                        .await
                    {
                        tracing::debug!(
                            error.kind = error.kind().to_str(),
                            "could not unsubscribe"
                        );
                    }
                }
                Some(Wish::Renew) => self.renew(&life).await,
            }
        }
    }

    async fn renew(&self, life: &Lifecycle) {
        self.0.renewed.store(false, Ordering::Release);
        let keys = self.0.shared.tickets.keys();
        let tickets: Vec<String> = self
            .rooms()
            .keys()
            .map(|ticket| keys.live(*ticket))
            .collect();
        let count = tickets.len();
        let mut pause = Duration::from_millis(50);
        // One after the other: fred mixes up the answers of subscriptions that are made side by side.
        for channel in self.0.canary.channels().iter().cloned().chain(tickets) {
            while let Err(error) = self.0.client.ssubscribe(channel.clone()).await {
                tracing::debug!(error.failure = ?failure(&error), "could not subscribe again");
                tokio::select! {
                    () = life.stopping().cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
        self.0.renewed.store(true, Ordering::Release);
        tracing::info!(tickets = count, "subscribed to ticket channels");
        self.catch_up_all();
    }
}
