//! Where an operator looks at the dead streams: a connection to Redis, pages of entries, and what may go
//! wrong.

use std::time::Duration;

use fred::{
    clients::Client,
    error::Error,
    interfaces::{ClientLike, StreamsInterface},
    types::Value,
};
use ticket_shared::{
    config::{BadSetting, Common},
    redis::{self, Examined, Failure, Program, Unfit, failure},
    stream::Keys,
};

use super::entry::{EntryId, Parked};
use crate::{
    delivery::{Delivery, Unexpected},
    stream_id::StreamId,
};

/// Entries that are held at once, however many are parked.
pub(super) const PAGE: usize = 100;
/// For how long a connection is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why parked entries could not be looked after as asked.
#[derive(Debug, thiserror::Error)]
pub enum DeadError {
    /// A setting turned out to be wrong.
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// No connection was made.
    #[error("Redis can't be reached at {0}")]
    NotConnected(String),
    /// Redis went away, or declined.
    #[error("{what}: {0}", what = what(.0))]
    Redis(#[from] Error),
    /// Redis answered something else.
    #[error("{0}")]
    Reply(String),
    /// These are not among the parked entries (any more).
    #[error("not parked: {}", joined(.0))]
    NotParked(Vec<EntryId>),
    /// These stand in a dead stream, but not in the form that workers give them.
    #[error("not parked by a worker, left as they are: {}", joined(.0))]
    Foreign(Vec<EntryId>),
    /// What was found could not be written.
    #[error("can't write: {}", .0.kind())]
    Output(#[from] std::io::Error),
}

impl From<Unexpected> for DeadError {
    fn from(reply: Unexpected) -> Self {
        Self::Reply(reply.to_string())
    }
}

fn what(error: &Error) -> &'static str {
    match failure(error) {
        Failure::Unreachable => "Redis can't be reached",
        Failure::Refused => "Redis refuses writes",
        _ => "Redis declined",
    }
}

fn joined(ids: &[EntryId]) -> String {
    let ids: Vec<String> = ids.iter().map(EntryId::to_string).collect();
    ids.join(", ")
}

/// The way to the dead streams.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) redis: Client,
    pub(super) keys: Keys,
    /// How long a ticket at rest stays in Redis.
    pub(super) hot_for: Duration,
}

impl Desk {
    pub(super) async fn open(settings: &Common) -> Result<Self, DeadError> {
        let lost = || DeadError::NotConnected(settings.redis_url.to_string());
        let examined = redis::examine(settings, Program::Worker);
        let Examined { url, keys, .. } = match tokio::time::timeout(PATIENCE, examined).await {
            Ok(Ok(examined)) => examined,
            Ok(Err(Unfit::Setting(bad))) => return Err(bad.into()),
            Ok(Err(Unfit::Redis(_))) | Err(_) => return Err(lost()),
        };
        let redis = redis::client(&url)?;
        // The client itself would wait for ever.
        match tokio::time::timeout(PATIENCE, redis.init()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(lost()),
        }
        Ok(Self {
            redis,
            keys,
            hot_for: settings.hot_for,
        })
    }

    pub(super) async fn close(&self) {
        // Redis notices the end of the connection in any case.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.redis.quit()).await;
    }

    /// How many entries of a partition are parked.
    pub(super) async fn length(&self, partition: u16) -> Result<u64, DeadError> {
        Ok(self.redis.xlen(self.keys.dead(partition)).await?)
    }

    /// The newest parked entry of a partition.
    pub(super) async fn newest(&self, partition: u16) -> Result<Option<StreamId>, DeadError> {
        let key = self.keys.dead(partition);
        let reply: Value = self.redis.xrevrange(key, "+", "-", Some(1)).await?;
        let newest = parked(reply, partition)?.pop();
        Ok(newest.map(|entry| entry.id.place))
    }

    /// One entry.
    pub(super) async fn find(&self, id: EntryId) -> Result<Option<Parked>, DeadError> {
        let (key, place) = (self.keys.dead(id.partition), id.place.to_string());
        let reply: Value = self.redis.xrange(key, place.clone(), place, None).await?;
        Ok(parked(reply, id.partition)?.pop())
    }

    /// The oldest entries of a partition from `from` to `until`, or to the end: at most `count`.
    pub(super) async fn page(
        &self,
        partition: u16,
        from: StreamId,
        until: Option<StreamId>,
        count: usize,
    ) -> Result<Vec<Parked>, DeadError> {
        let key = self.keys.dead(partition);
        let until = until.map_or_else(|| "+".to_owned(), |until| until.to_string());
        let reply: Value = self
            .redis
            .xrange(key, from.to_string(), until, Some(count as u64))
            .await?;
        parked(reply, partition)
    }
}

fn parked(reply: Value, partition: u16) -> Result<Vec<Parked>, DeadError> {
    let entries = Delivery::of_range(reply, partition)?;
    entries
        .into_iter()
        .map(|entry| Parked::of(entry).ok_or(DeadError::from(Unexpected("XRANGE"))))
        .collect()
}
