//! People and tokens that were revoked: kept in Redis, read by every gateway every [`EVERY`], and held in
//! memory, so that asking costs nothing and Redis being away forgets nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fred::{clients::Client, types::Value};
use ticket_shared::{lifecycle::Lifecycle, stream::Keys};
use tokio::sync::watch;

use super::Claims;
use crate::{
    error::Error,
    script::{Items, Script},
};

/// How often Redis is read.
const EVERY: Duration = Duration::from_secs(2);
/// For how long entries are kept, in milliseconds: 400 days.
const KEPT: u64 = 400 * 24 * 60 * 60 * 1_000;

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// Every token of a person that was signed until now.
    Sub(String),
    /// One token, by its id.
    Token(String),
}

impl Revoked {
    fn name(&self) -> String {
        match self {
            Self::Sub(sub) => format!("s:{sub}"),
            Self::Token(id) => format!("t:{id}"),
        }
    }
}

/// Everything that was revoked. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Revocations(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    redis: Client,
    key: String,
    script: Script,
    /// When each name was revoked, in milliseconds since 1970 by Redis' clock.
    known: RwLock<HashMap<String, u64>>,
    changed: watch::Sender<u64>,
    /// What Redis has was read at least once.
    informed: AtomicBool,
}

impl Revocations {
    /// Begins to read what was revoked.
    pub fn start(redis: Client, keys: &Keys, life: &Lifecycle) -> Self {
        let all = Self(Arc::new(Inner {
            redis,
            key: keys.revoked(),
            script: Script::new(include_str!("revoked.lua")),
            known: RwLock::default(),
            changed: watch::Sender::new(0),
            informed: AtomicBool::new(false),
        }));
        let (reader, stopping) = (all.clone(), life.stopping().clone());
        life.spawn_vital("revocations", async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = reader.read() => {}
            }
        });
        all
    }

    /// Revokes `what`, in this process at once and in all others soon.
    ///
    /// # Errors
    /// Redis can't be reached or refuses writes; after a time-out it may have been revoked all the same.
    pub async fn revoke(&self, what: Revoked) -> Result<(), Error> {
        self.exchange(vec![what.name().into(), "".into()]).await
    }

    /// Whether a token does not hold any more.
    pub fn revoked(&self, claims: &Claims) -> bool {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        // Asked at every event, and hardly ever is anything revoked.
        if known.is_empty() {
            return false;
        }
        let token = claims.token_id.as_ref();
        if token.is_some_and(|id| known.contains_key(&format!("t:{id}"))) {
            return true;
        }
        let Some(&at) = known.get(&format!("s:{}", claims.sub)) else {
            return false;
        };
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        claims
            .issued_at
            .is_none_or(|issued| issued.saturating_mul(1_000) <= at)
    }

    /// Whether it is known what was revoked before this process began.
    pub fn informed(&self) -> bool {
        self.0.informed.load(Ordering::Acquire)
    }

    /// A number that grows with everything that is revoked.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    async fn read(self) {
        let mut failing = false;
        loop {
            match self.exchange(Vec::new()).await {
                Ok(()) => {
                    failing = false;
                    self.0.informed.store(true, Ordering::Release);
                }
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "what was revoked can't be read; what is known still holds");
                }
                Err(_) => {}
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Adds entries in Redis, takes over all that it has, and gives back to it what it has lost.
    async fn exchange(&self, add: Vec<Value>) -> Result<(), Error> {
        let lost = self.take(self.call(add).await?);
        if !lost.is_empty() {
            tracing::warn!(
                entries = lost.len() / 2,
                "Redis has lost revocations, adding them again"
            );
            self.call(lost).await?;
        }
        Ok(())
    }

    async fn call(&self, add: Vec<Value>) -> Result<Value, Error> {
        let inner = &self.0;
        let mut args: Vec<Value> = vec![KEPT.to_string().into()];
        args.extend(add);
        let keys = vec![inner.key.clone()];
        Ok(inner.script.call(&inner.redis, keys, args).await?)
    }

    /// Takes over an answer, and returns name and time of each entry that is known and not in it.
    fn take(&self, answer: Value) -> Vec<Value> {
        let mut items = Items::of(answer);
        let oldest = items.number().saturating_sub(KEPT);
        let mut there = HashMap::new();
        while let Some(name) = items.text() {
            there.insert(name, items.number());
        }
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, at| *at > oldest);
        let mut lost: Vec<Value> = Vec::new();
        for (name, at) in known.iter() {
            if there.get(name).is_none_or(|there| there < at) {
                lost.extend([name.as_str().into(), at.to_string().into()]);
            }
        }
        let mut news = 0;
        for (name, at) in there {
            if at > oldest && known.get(&name).is_none_or(|known| *known < at) {
                known.insert(name, at);
                news += 1;
            }
        }
        drop(known);
        if news > 0 {
            self.0.changed.send_modify(|count| *count += news);
        }
        lost
    }
}
