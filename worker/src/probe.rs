//! What operators ask the process: is it alive, is it ready, what does it count.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fred::{clients::Client, interfaces::ClientLike};
use ticket_shared::redis::{Disconnected, Entrance, hot_path};
use tokio_util::sync::CancellationToken;

use crate::store::Store;

mod endpoints;
mod refusals;

pub(crate) use endpoints::serve;
pub(crate) use refusals::{Part, Reporter};

use refusals::Refusals;

/// How often Redis and MongoDB are asked for a sign of life.
const INTERVAL: Duration = Duration::from_secs(2);
/// Interval between two looks at rights that are missing.
const RIGHTS: Duration = Duration::from_secs(5);
/// For how long a sign of life counts.
const FRESH: Duration = Duration::from_secs(8);

/// When each part was last reached. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    redis: Arc<LastSeen>,
    mongo: Arc<LastSeen>,
    /// What MongoDB's last failure was.
    reason: Arc<Mutex<Option<String>>>,
    /// What keeps the work from being done although both are there.
    refusals: Refusals,
    /// What may refuse writes in the database.
    obstacles: Arc<Mutex<Vec<String>>>,
    /// Reasons for which clients of Redis have no connection.
    disconnected: Arc<Mutex<Vec<Disconnected>>>,
}

impl Health {
    /// Where one reader reports how its work goes.
    pub(crate) fn reporter(&self) -> Reporter {
        self.refusals.reporter()
    }

    /// Notes what may refuse writes.
    pub(crate) fn obstructed_by(&self, obstacles: Vec<String>) {
        *self.obstacles() = obstacles;
    }

    /// Adds a client whose connection is watched.
    pub(crate) fn watch_connection(&self, why: Disconnected) {
        self.connections().push(why);
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Disconnected>> {
        self.disconnected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Why Redis is down, or what is refused, in words that quote nothing.
    fn why(&self, mongo: bool, refused: Vec<(Part, String)>) -> Option<String> {
        let away = self.reason().clone().filter(|_| !mongo);
        let disconnected = || self.connections().iter().find_map(Disconnected::reason);
        away.or_else(|| disconnected().map(|why| format!("no redis connection: {why}")))
            .or_else(|| refused.into_iter().next().map(|(_, reason)| reason))
    }

    fn obstacles(&self) -> MutexGuard<'_, Vec<String>> {
        self.obstacles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn reason(&self) -> MutexGuard<'_, Option<String>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct LastSeen(Mutex<Option<Instant>>);

impl LastSeen {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn lately(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|at| at.elapsed() < FRESH)
    }
}

/// Asks Redis for signs of life until the process stops.
pub(crate) async fn watch_redis(
    redis: Client,
    entrance: Entrance,
    health: Health,
    stopping: CancellationToken,
) {
    let redis = redis.with_options(&hot_path());
    while !stopping.is_cancelled() {
        health.refusals.deny(Part::Redis, &entrance.refused());
        if redis.ping::<()>(None).await.is_ok() {
            health.redis.note();
        }
        pause(&stopping).await;
    }
}

/// Asks MongoDB for signs of life until the process stops. One question at a time: while it hangs, none is
/// added, and the process turns unready.
pub(crate) async fn watch_mongo(store: Store, health: Health, stopping: CancellationToken) {
    let mut examined = Instant::now().checked_sub(RIGHTS);
    while !stopping.is_cancelled() {
        tokio::select! {
            () = stopping.cancelled() => return,
            answer = store.ping() => match answer {
                Ok(()) => {
                    health.mongo.note();
                    let due = examined.is_none_or(|at| at.elapsed() >= RIGHTS);
                    if due && (health.refusals.denied(Part::Mongo) || !health.refusals.looked(Part::Mongo)) {
                        examined = Some(Instant::now());
                        health.refusals.deny(Part::Mongo, &store.refused().await);
                    }
                }
                Err(failure) => *health.reason() = Some(failure.to_string()),
            },
        }
        pause(&stopping).await;
    }
}

async fn pause(stopping: &CancellationToken) {
    tokio::select! {
        () = stopping.cancelled() => {}
        () = tokio::time::sleep(INTERVAL) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_counts_as_up_only_after_it_was_reached() {
        let seen = LastSeen::default();
        assert!(!seen.lately());
        seen.note();
        assert!(seen.lately());
        *seen.0.lock().unwrap() = Instant::now().checked_sub(FRESH);
        assert!(!seen.lately());
    }
}
