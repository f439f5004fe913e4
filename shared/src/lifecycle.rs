//! Tasks and their end: every task has a name and an owner, a task that dies takes the process with it, and a
//! shutdown waits for all of them.
//!
//! A shutdown has two steps. `soft` asks tasks to finish what they have; `hard`, after the grace period, ends
//! those that still run.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

mod runtime;
mod until;

pub use runtime::block_on;
pub use until::Until;

use until::Signal;

/// Owns the tasks of one process (or of one test).
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    soft: Signal,
    hard: Signal,
    tasks: TaskTracker,
    failed: Arc<Failed>,
}

#[derive(Debug, Default)]
struct Failed {
    first: std::sync::OnceLock<&'static str>,
    notify: Notify,
}

/// A task ended that should not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("task {0} ended unexpectedly")]
pub struct TaskDied(pub &'static str);

impl Lifecycle {
    /// Cancelled when the process should finish what it has.
    pub fn stopping(&self) -> &CancellationToken {
        &self.soft.token
    }

    /// Resolves then; for loops that run often, made once and polled again and again by the same task.
    pub fn until_stopping(&self) -> Until {
        self.soft.until()
    }

    /// Starts a task that lives as long as the process. It must return only once [`Lifecycle::stopping`] is
    /// cancelled: an earlier end, or a panic, is a failure of the process.
    pub fn spawn_vital(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (soft, failed) = (self.soft.token.clone(), self.failed.clone());
        let guard = Guard { name, soft, failed };
        let ended = self.hard.until();
        self.spawn_on_runtime(async move {
            let _guard = guard;
            tokio::select! {
                biased;
                () = ended => {}
                () = task => {}
            }
        });
    }

    /// Starts a task that may end whenever it is done. A panic in it is logged by the runtime's hook and ends
    /// only it.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let ended = self.hard.until();
        // Boxed before it goes into another future, which would keep room for it twice.
        let task = Box::pin(task);
        self.spawn_on_runtime(async move {
            tokio::select! {
                biased;
                () = ended => {}
                () = task => {}
            }
        });
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that spawns: tracked, and ended by the shutdown"
    )]
    fn spawn_on_runtime(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.tasks.track_future(task));
    }

    /// Resolves when the process should stop: on SIGTERM or SIGINT, when [`Lifecycle::stop`] was called, or
    /// when a vital task died.
    ///
    /// # Errors
    /// [`TaskDied`], where that is why.
    pub async fn until_stopped(&self) -> Result<(), TaskDied> {
        tokio::select! {
            () = self.failed.notify.notified() => {}
            () = self.soft.token.cancelled() => {}
            () = signal() => tracing::info!("signal received, stopping"),
        }
        match self.failed.first.get() {
            Some(name) => Err(TaskDied(name)),
            None => Ok(()),
        }
    }

    /// Asks every task to finish.
    pub fn stop(&self) {
        self.soft.give();
    }

    /// Asks every task to finish, waits up to `grace` for that, then ends the rest. Says whether all ended by
    /// themselves.
    pub async fn shutdown(&self, grace: Duration) -> bool {
        self.soft.give();
        self.tasks.close();
        let clean = tokio::time::timeout(grace, self.tasks.wait()).await.is_ok();
        if !clean {
            tracing::warn!(
                tasks = self.tasks.len(),
                grace_ms = grace.as_millis(),
                "tasks still running, ending them"
            );
            self.hard.give();
            self.tasks.wait().await;
        }
        clean
    }
}

/// Reports a vital task that ends before it was asked to, by return or by panic.
struct Guard {
    name: &'static str,
    soft: CancellationToken,
    failed: Arc<Failed>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.soft.is_cancelled() {
            tracing::error!(task.name = self.name, "vital task ended unexpectedly");
            // Only the first counts: what follows may be its consequence.
            let _ = self.failed.first.set(self.name);
            self.failed.notify.notify_one();
        }
    }
}

async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        // Without handlers the default action ends the process, which is what was asked for.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_vital_task_that_ends_stops_the_process() {
        let life = Lifecycle::default();
        life.spawn_vital("idle", std::future::pending());
        life.spawn_vital("fragile", async {});
        assert_eq!(life.until_stopped().await, Err(TaskDied("fragile")));
        assert!(
            !life.shutdown(Duration::from_millis(10)).await,
            "the idle task had to be ended"
        );
    }

    #[tokio::test]
    async fn a_panic_is_an_unexpected_end_too() {
        let life = Lifecycle::default();
        life.spawn_vital("panicking", async { panic!("on purpose") });
        assert_eq!(life.until_stopped().await, Err(TaskDied("panicking")));
    }

    #[tokio::test]
    async fn tasks_that_listen_end_by_themselves() {
        let life = Lifecycle::default();
        let stopping = life.stopping().clone();
        life.spawn_vital("polite", async move { stopping.cancelled().await });
        life.stop();
        assert_eq!(life.until_stopped().await, Ok(()));
        assert!(life.shutdown(Duration::from_secs(5)).await);
    }
}
