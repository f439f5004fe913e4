//! The members of a ticket, whose connections end if its task panics: without the task they would hear nothing more,
//! and not know.

use std::{
    collections::HashMap,
    hash::Hash,
    ops::{Deref, DerefMut},
};

use crate::metrics::Metrics;

/// A connection that can be ended.
pub(super) trait Connected {
    /// Ends the connection because the task of its ticket has died.
    fn cut(&self, metrics: &Metrics);
}

/// Members by socket.
pub(super) struct Members<K, M: Connected> {
    all: HashMap<K, M>,
    metrics: Metrics,
    /// Counted as followed.
    followed: bool,
}

impl<K: Eq + Hash, M: Connected> Members<K, M> {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            all: HashMap::new(),
            metrics,
            followed: false,
        }
    }

    /// Counts the ticket as followed, until this is dropped.
    pub(super) fn follow(&mut self) {
        self.followed = true;
        self.metrics.followed.inc();
    }
}

impl<K, M: Connected> Deref for Members<K, M> {
    type Target = HashMap<K, M>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl<K, M: Connected> DerefMut for Members<K, M> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.all
    }
}

impl<K, M: Connected> Drop for Members<K, M> {
    fn drop(&mut self) {
        if self.followed {
            self.metrics.followed.dec();
        }
        // A panic drops what the task holds while it unwinds. In every other end its members have left.
        if std::thread::panicking() {
            self.metrics.room_panics.inc();
            tracing::error!(
                sockets = self.all.len(),
                "task of a ticket panicked, ending the connections of its members"
            );
            for member in self.all.values() {
                member.cut(&self.metrics);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use ticket_shared::lifecycle::Lifecycle;

    use super::*;

    #[derive(Clone, Default)]
    struct Cut(Arc<AtomicUsize>);

    impl Connected for Cut {
        fn cut(&self, _: &Metrics) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What is cut, and counted, once a task with three members has ended.
    async fn after(end: impl FnOnce() + Send + 'static) -> (usize, u64, i64) {
        let (life, metrics) = (Lifecycle::default(), Metrics::default());
        let cut = Cut::default();
        let mut members = Members::new(metrics.clone());
        members.follow();
        for i in 0..3 {
            members.insert(i, cut.clone());
        }
        life.spawn(async move {
            let _members = members;
            tokio::task::yield_now().await;
            end();
        });
        life.shutdown(std::time::Duration::from_mins(1)).await;
        (
            cut.0.load(Ordering::SeqCst),
            metrics.room_panics.get(),
            metrics.followed.get(),
        )
    }

    #[tokio::test]
    async fn a_panic_ends_the_connections_of_all_members_and_is_counted() {
        assert_eq!(after(|| panic!("on purpose")).await, (3, 1, 0));
        assert_eq!(after(|| ()).await, (0, 0, 0));
    }
}
