//! The stop of an HTTP server, in two steps. While it leaves, everything is accepted and served as before, and each answer
//! closes its connection, so that balancers and clients go elsewhere by themselves. Once it closes, it accepts nothing more,
//! idle connections end, and what has begun is finished.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// The stop of one server. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ServerStop {
    leaving: Arc<AtomicBool>,
    closing: CancellationToken,
    /// Connections over which a request may have begun.
    begun: TaskTracker,
}

impl ServerStop {
    /// Closes each connection with its next answer.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Accepts nothing more, and waits up to `most` until all requests that have begun are answered; polls of Socket.IO are
    /// not waited for. Returns whether they are.
    pub async fn close(&self, most: Duration) -> bool {
        self.leave();
        self.closing.cancel();
        self.begun.close();
        let finished = tokio::time::timeout(most, self.begun.wait()).await;
        if finished.is_err() {
            tracing::warn!(
                connections = self.begun.len(),
                "requests are not finished, ending them"
            );
        }
        finished.is_ok()
    }

    /// Returns whether an answer closes its connection.
    pub(super) fn leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Cancelled when nothing more is accepted.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// A connection's, kept for as long as a request may have begun over it.
    pub(super) fn begun(&self) -> TaskTrackerToken {
        self.begun.token()
    }
}
