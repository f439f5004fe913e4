//! A ticket's log, seen from the gateway: appending to it, reading it, bringing it back into Redis, following
//! it for the sockets that are in it.

pub mod append;
pub mod commit;
mod count;
mod enter;
pub mod epoch;
pub mod follow;
pub mod list;
pub mod outcomes;
pub mod page;
mod permit;
mod settle;
mod unstored;
pub mod view;
mod warm;

use std::{sync::Arc, time::Duration};

use fred::clients::Client;
use ticket_shared::{id::Id, stream::Keys};

use crate::{script::Script, store::Store, watch::Watch};
use commit::Commit;

/// The logs of all tickets. Cheap to clone.
#[derive(Clone)]
pub struct Tickets(Arc<Inner>);

struct Inner {
    redis: Client,
    keys: Keys,
    store: Store,
    admission: Watch,
    commit: Commit,
    read: Script,
    owned: Script,
    hot: Script,
    enter: Script,
    warm: Script,
    salvage: Script,
    former: Script,
    settle: Script,
    settling: Vec<settle::Settling>,
    loading: warm::Loading,
    counting: count::Counting,
    /// How long a ticket at rest stays in Redis.
    hot_for: Duration,
}

impl Inner {
    /// The keys that a script needs which adds to a ticket's log.
    fn log_keys(&self, id: Id) -> [String; commit::KEYS] {
        let (keys, partition) = (&self.keys, self.keys.partition(id));
        [
            keys.state(id),
            keys.log(id),
            keys.idem(id),
            keys.events(partition),
            keys.dirty(partition),
            keys.epoch(partition),
        ]
    }
}

impl Tickets {
    /// Logs under `keys` in `redis`, with `store` behind them.
    ///
    /// Changes are refused while `admission` says so, and acknowledged once `commit` has them.
    pub fn new(redis: Client, keys: Keys, store: Store, admission: Watch, commit: Commit) -> Self {
        let settling = (0..keys.partitions()).map(|_| settle::Settling::default());
        Self(Arc::new(Inner {
            settling: settling.collect(),
            redis,
            keys,
            store,
            admission,
            commit,
            read: Script::new(include_str!("ticket/read.lua")),
            owned: Script::new(include_str!("ticket/owned.lua")),
            hot: Script::new(include_str!("ticket/hot.lua")),
            enter: Script::new(enter::ENTER),
            warm: Script::new(include_str!("ticket/warm.lua")),
            salvage: Script::new(include_str!("ticket/warm/salvage.lua")),
            former: Script::new(include_str!("ticket/warm/former.lua")),
            settle: Script::new(include_str!("ticket/settle.lua")),
            loading: warm::Loading::default(),
            counting: count::Counting::default(),
            hot_for: Duration::from_hours(24),
        }))
    }

    /// The same with another time that tickets at rest stay in Redis; zero: until memory runs short. For a handle that was
    /// not cloned yet.
    #[must_use]
    pub fn hot_for(mut self, hot_for: Duration) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.hot_for = hot_for;
        }
        self
    }

    /// The names of the keys.
    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// The Redis client.
    pub fn redis(&self) -> &Client {
        &self.0.redis
    }

    /// MongoDB, as readers see it.
    pub fn store(&self) -> &Store {
        &self.0.store
    }
}
