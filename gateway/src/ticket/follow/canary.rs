//! Whether this gateway hears: it talks to itself through Redis, once a second in every partition.
//!
//! A subscription can be gone while its connection is up: dropped by a server that moves slots, or never made.
//! Only hearing proves hearing. A gateway that does not is unready, and makes its subscriptions again.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fred::interfaces::{ClientLike, PubsubInterface};
use futures::future::join_all;
use ticket_shared::{id::Id, lifecycle::Lifecycle, redis::hot_path, stream::Keys};

use super::{Follower, Wish};

/// How often a gateway talks to itself.
const EVERY: Duration = Duration::from_secs(1);
/// After this long without hearing itself in some partition it counts as deaf. Below the 10 s within which
/// that must be seen, above what a busy machine may be late.
const DEAF: Duration = Duration::from_secs(5);

/// When each partition was last heard.
#[derive(Debug)]
pub(super) struct Canary {
    channels: Vec<String>,
    heard: Mutex<Vec<Option<Instant>>>,
}

impl Canary {
    /// A gateway that has heard nothing yet.
    pub(super) fn new(keys: &Keys, gateway: Id) -> Self {
        let channels: Vec<_> = (0..keys.partitions())
            .map(|partition| keys.canary(partition, gateway))
            .collect();
        let heard = Mutex::new(vec![None; channels.len()]);
        Self { channels, heard }
    }

    /// The channels to subscribe to.
    pub(super) fn channels(&self) -> &[String] {
        &self.channels
    }

    /// Something came over this channel.
    pub(super) fn came(&self, channel: &str) {
        if let Some(partition) = self.channels.iter().position(|own| own == channel) {
            self.heard()[partition] = Some(Instant::now());
        }
    }

    /// Whether every partition was heard lately.
    pub(super) fn hears(&self) -> bool {
        self.heard()
            .iter()
            .all(|heard| heard.is_some_and(|at| at.elapsed() < DEAF))
    }

    /// Whether every partition was heard at least once.
    pub(super) fn heard_once(&self) -> bool {
        self.heard().iter().all(Option::is_some)
    }

    fn heard(&self) -> MutexGuard<'_, Vec<Option<Instant>>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// Talks to itself, and acts where it does not hear that.
    pub(super) async fn listen_to_itself(self, life: Lifecycle) {
        let redis = self.0.shared.tickets.redis().with_options(&hot_path());
        let mut heard_before = false;
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = life.stopping().cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            // What could not be sent is not heard, which is all that counts.
            join_all(
                self.0
                    .canary
                    .channels()
                    .iter()
                    .map(|channel| redis.spublish::<i64, _, _>(channel, "1")),
            )
            .await;
            let hears = self.0.canary.hears();
            if heard_before && !hears {
                tracing::warn!("this gateway does not hear itself through redis");
                self.0.shared.metrics.deaf.inc();
            }
            heard_before = hears;
            if !hears && self.0.client.is_connected() && renewed.elapsed() > DEAF {
                renewed = Instant::now();
                // The other end lives as long as the process.
                let _ = self.0.wishes.send(Wish::Renew);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_silent_partition_is_deafness() {
        let canary = Canary::new(&Keys::new("t", 2), Id::from_bytes([1; 12]));
        assert!(!canary.hears());
        canary.came(&canary.channels()[0]);
        canary.came("t:{1}:canary:020202020202020202020202");
        assert!(!canary.hears() && !canary.heard_once());
        canary.came(&canary.channels()[1]);
        assert!(canary.hears() && canary.heard_once());
    }
}
