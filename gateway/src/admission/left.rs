//! Sessions whose socket has left: the client said so, or was sent away, and keeps the connection open.
//!
//! The library ends a session over which nobody comes in, but not one that somebody has left. It would keep its place
//! for as long as its client answers pings.
//!
//! A client that leaves may come in again at once. The library ignores its CONNECT until it has removed the socket that
//! left, which it does in a task of its own: so the CONNECT is held until then.

use std::{
    sync::{Arc, MutexGuard, PoisonError, Weak, atomic::Ordering},
    time::Duration,
};

use super::Account;

/// How long a session may stay without its socket: as long as one may take to bring one in.
const STAY: Duration = Duration::from_secs(10);

/// How often the library is asked whether it has removed a socket.
const REMOVING: Duration = Duration::from_millis(1);

/// A socket that leaves.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// The library still has it.
    there: bool,
    /// The CONNECT that came meanwhile.
    held: Option<String>,
}

impl Account {
    fn leaving(&self) -> MutexGuard<'_, Leaving> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds this CONNECT if a socket is leaving. Returns whether it does.
    pub(super) fn holds(&self, connect: &str) -> bool {
        let mut leaving = self.leaving();
        if leaving.there {
            leaving.held = Some(connect.to_owned());
        }
        leaving.there
    }

    /// A socket has come in.
    pub(crate) fn entered(&self) {
        self.entries.fetch_add(1, Ordering::AcqRel);
    }

    /// A socket has left, and is `there` until the library has removed it. Ends the session unless another one comes in
    /// over it.
    pub(crate) fn left(self: &Arc<Self>, there: impl Fn() -> bool + Send + 'static) {
        self.leaving().there = true;
        self.outside.store(true, Ordering::Release);
        let account = Arc::clone(self);
        self.life.spawn(async move {
            while there() {
                tokio::time::sleep(REMOVING).await;
            }
            let held = {
                let mut leaving = account.leaving();
                leaving.there = false;
                leaving.held.take()
            };
            if let (Some(connect), Some(session)) = (held, account.line().session()) {
                session.deliver(connect);
            }
        });
        let entries = self.entries.load(Ordering::Acquire);
        // It may be over long before that.
        let account = Arc::downgrade(self);
        let stopping = self.life.until_stopping();
        self.life.spawn(async move {
            tokio::select! {
                // Then all sessions end.
                () = stopping => {}
                () = tokio::time::sleep(STAY) => end_if_empty(&account, entries),
            }
        });
    }
}

fn end_if_empty(account: &Weak<Account>, entries: u64) {
    if let Some(account) = account.upgrade()
        && account.entries.load(Ordering::Acquire) == entries
    {
        account.line().close();
    }
}
