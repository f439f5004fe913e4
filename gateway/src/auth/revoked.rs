//! People and tokens that were revoked: kept in Redis and in the memory of every gateway, so that a check costs
//! nothing and an outage of Redis forgets nothing.
//!
//! Every [`EVERY`] a gateway reads the entries that are new, and compares how many there are. If that differs from
//! what it knows, if Redis is another server, or every [`WHOLE`], it reads the whole set and gives back what Redis
//! has lost. So two gateways that each miss something of the other are equal after two reads.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fred::{clients::Client, types::Value};
use ticket_shared::{lifecycle::Lifecycle, stream::Keys};
use tokio::{sync::watch, time::Instant};

use super::Claims;
use crate::{
    error::Error,
    script::{Items, Script},
};

/// Interval of reads.
const EVERY: Duration = Duration::from_secs(2);
/// Interval of reads of the whole set, which no sign of a loss has caused.
const WHOLE: Duration = Duration::from_mins(10);
/// By how much a read begins before the last one, in milliseconds: Redis' clock may be set back.
const OVERLAP: u64 = 10_000;
/// Entries that are given back in one call.
const CHUNK: usize = 1_000;
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
    /// Seconds by which a signer's clock may be ahead.
    leeway: i64,
    /// When each name was revoked, in milliseconds since 1970 by Redis' clock.
    known: RwLock<HashMap<String, u64>>,
    /// The last read.
    last: Mutex<Option<Read>>,
    changed: watch::Sender<u64>,
    /// What Redis has was read at least once.
    informed: AtomicBool,
}

/// One read of the set.
#[derive(Debug, Clone)]
struct Read {
    /// Redis' time.
    now: u64,
    /// The id of the server's data.
    server: String,
    /// When the whole set was read last.
    whole_at: Instant,
}

/// The answer of the script.
struct Answer {
    now: u64,
    server: String,
    /// Entries that are kept.
    count: u64,
    entries: HashMap<String, u64>,
}

impl Answer {
    fn of(answer: Value) -> Self {
        let mut items = Items::of(answer);
        let (now, server) = (items.number(), items.text().unwrap_or_default());
        let count = items.number();
        let mut entries = HashMap::new();
        while let Some(name) = items.text() {
            entries.insert(name, items.number());
        }
        Self {
            now,
            server,
            count,
            entries,
        }
    }
}

impl Revocations {
    /// Begins to read what was revoked. `leeway` is how far ahead a signer's clock may be, in seconds.
    pub fn start(redis: Client, keys: &Keys, leeway: i64, life: &Lifecycle) -> Self {
        let all = Self(Arc::new(Inner {
            leeway,
            last: Mutex::default(),
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
        // A token that was signed before, by a clock that is ahead, must not outlive it.
        claims
            .issued_at
            .is_none_or(|issued| issued.saturating_sub(self.0.leeway).saturating_mul(1_000) <= at)
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

    /// Adds entries in Redis and takes over what is new there; all of it, if something is amiss.
    async fn exchange(&self, add: Vec<Value>) -> Result<(), Error> {
        let last = self.last().clone();
        let since = last
            .as_ref()
            .map_or(0, |last| last.now.saturating_sub(OVERLAP));
        let answer = self.call(since, add).await?;
        self.learn(&answer);
        let Some(last) = last else {
            return self.give_back(answer).await;
        };
        let amiss = answer.server != last.server
            || answer.now < last.now
            || last.whole_at.elapsed() >= WHOLE
            || !self.has(&answer);
        if amiss {
            let whole = self.call(0, Vec::new()).await?;
            self.learn(&whole);
            return self.give_back(whole).await;
        }
        *self.last() = Some(Read {
            now: answer.now,
            ..last
        });
        Ok(())
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Read>> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(&self, since: u64, add: Vec<Value>) -> Result<Answer, Error> {
        let inner = &self.0;
        let mut args: Vec<Value> = vec![KEPT.to_string().into(), since.to_string().into()];
        args.extend(add);
        let keys = vec![inner.key.clone()];
        Ok(Answer::of(
            inner.script.call(&inner.redis, keys, args).await?,
        ))
    }

    /// Takes over the entries of an answer.
    fn learn(&self, answer: &Answer) {
        let oldest = answer.now.saturating_sub(KEPT);
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut news = 0;
        for (name, at) in &answer.entries {
            if *at > oldest && known.get(name).is_none_or(|known| known < at) {
                known.insert(name.clone(), *at);
                news += 1;
            }
        }
        drop(known);
        if news > 0 {
            self.0.changed.send_modify(|count| *count += news);
        }
    }

    /// Whether Redis has as many entries as are known.
    fn has(&self, answer: &Answer) -> bool {
        let same = |known: &HashMap<String, u64>| known.len() as u64 == answer.count;
        if same(&self.0.known.read().unwrap_or_else(PoisonError::into_inner)) {
            return true;
        }
        // Some may be out of date.
        let oldest = answer.now.saturating_sub(KEPT);
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, at| *at > oldest);
        same(&known)
    }

    /// Adds to Redis what is known and not in this answer, which is of the whole set.
    async fn give_back(&self, whole: Answer) -> Result<(), Error> {
        let oldest = whole.now.saturating_sub(KEPT);
        let lost: Vec<(String, u64)> = {
            let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
            let missing = known.iter().filter(|(name, at)| {
                **at > oldest && whole.entries.get(*name).is_none_or(|there| there < at)
            });
            missing.map(|(name, at)| (name.clone(), *at)).collect()
        };
        if !lost.is_empty() {
            tracing::warn!(
                entries = lost.len(),
                "redis has lost revocations, adding them again"
            );
        }
        for chunk in lost.chunks(CHUNK) {
            let entries = chunk
                .iter()
                .flat_map(|(name, at)| [Value::from(name.as_str()), Value::from(at.to_string())]);
            self.call(whole.now, entries.collect()).await?;
        }
        *self.last() = Some(Read {
            now: whole.now,
            server: whole.server,
            whole_at: Instant::now(),
        });
        Ok(())
    }
}
