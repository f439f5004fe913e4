//! What a worker does to the database once when it starts: looks for obstacles, makes one document of two that stand
//! for one ticket, and creates the indexes.

use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    indexes,
    metrics::Metrics,
    obstacles::{self, Obstacle},
    probe::Health,
    store::{Failure, Store},
};

/// Does it, for as long as it takes to reach MongoDB.
pub(crate) async fn prepare(
    store: Store,
    health: Health,
    metrics: Metrics,
    stopping: CancellationToken,
) {
    if let Some(found) = persist(&stopping, || obstacles::find(&store)).await {
        say(&found, &health, &metrics);
    }
    if let Some(merged @ 1..) = persist(&stopping, || store.merge_twins()).await {
        tracing::warn!(tickets = merged, "tickets that had two documents have one");
    }
    indexes::run(store, stopping).await;
}

fn say(found: &[Obstacle], health: &Health, metrics: &Metrics) {
    for obstacle in found {
        tracing::warn!(obstacle = %obstacle, "the database may refuse what is written");
    }
    metrics
        .obstacles
        .set(i64::try_from(found.len()).unwrap_or(i64::MAX));
    health.obstructed_by(found.iter().map(ToString::to_string).collect());
}

/// Tries until it succeeds; nothing where the server declines, or the process stops.
async fn persist<T, F: Future<Output = Result<T, Failure>>>(
    stopping: &CancellationToken,
    mut attempt: impl FnMut() -> F,
) -> Option<T> {
    let mut backoff = Backoff::default();
    loop {
        match attempt().await {
            Ok(done) => return Some(done),
            Err(failure) if failure.declines() => {
                tracing::warn!(error = %failure, "database not inspected");
                return None;
            }
            Err(failure) => tracing::debug!(error = %failure, "database not inspected yet"),
        }
        if !backoff.wait(stopping).await {
            return None;
        }
    }
}
