//! The reads that MongoDB refuses or does not answer: tried at the start, and again while reads fail.
//!
//! What must hold: a wrong password, a missing right and a read concern that the server does not know are named in the
//! log, in `/readyz` and by `check-config --connect`. They make no gateway unready: tickets in Redis are served without
//! MongoDB, and no other gateway does better.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use mongodb::{
    bson::{Document, doc},
    error::{Error, ErrorKind},
};
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use ticket_mongo::{code, read_concern};
use ticket_shared::lifecycle::Lifecycle;

use super::{Store, StoreError, failure::Trouble};

/// The collections that are read.
const COLLECTIONS: [&str; 2] = ["tickets", "messages"];
/// An id that no document has. Constant, so a server that quotes it tells nothing.
const NOTHING: &str = "check-config";
/// Interval between two looks while reads fail.
const AGAIN: Duration = Duration::from_secs(5);

/// A read that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unread {
    /// The operation and its collection.
    operation: String,
    /// The reason, in the server's own words.
    reason: String,
    /// The server answered: to wait does not help.
    denied: bool,
}

/// The reads that fail. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ReadHealth(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    gauge: Gauge,
    unread: Mutex<Vec<Unread>>,
}

impl ReadHealth {
    /// Tries the reads of `store` now, and again while they fail, until the process stops.
    pub fn start(store: &Store, life: &Lifecycle) -> Self {
        let health = Self::default();
        let (noted, store, stopping) = (health.clone(), store.clone(), life.stopping().clone());
        life.spawn(async move {
            let mut due = true;
            loop {
                if due {
                    noted.note(store.unread().await);
                }
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(AGAIN) => {}
                }
                due = store.failed.swap(false, Ordering::AcqRel) || noted.failing();
            }
        });
        health
    }

    /// Registers what is measured.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "reads_failing",
            "Whether MongoDB refused reads, or did not answer them, when they were last tried",
            self.0.gauge.clone(),
        );
    }

    /// The reads that fail, each with its reason.
    pub fn reasons(&self) -> Vec<String> {
        let unread = self.0.unread.lock().unwrap_or_else(PoisonError::into_inner);
        unread.iter().map(ToString::to_string).collect()
    }

    fn failing(&self) -> bool {
        self.0.gauge.get() != 0
    }

    fn note(&self, found: Vec<Unread>) {
        self.0.gauge.set(i64::from(!found.is_empty()));
        let mut known = self.0.unread.lock().unwrap_or_else(PoisonError::into_inner);
        if found.is_empty() && !known.is_empty() {
            tracing::info!("mongodb refuses no read any more");
        }
        for unread in found.iter().filter(|unread| !known.contains(unread)) {
            let Unread {
                operation, reason, ..
            } = unread;
            if unread.denied {
                tracing::error!(operation, reason, "mongodb refuses a read that is needed");
            } else {
                tracing::warn!(operation, reason, "mongodb can't be read, trying on");
            }
        }
        *known = found;
    }
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "mongodb: {}: {}", self.operation, self.reason)
    }
}

impl Store {
    /// Returns the reads that fail, in words for people: nothing if all is well.
    pub async fn refused(&self) -> Vec<String> {
        let unread = self.unread().await;
        unread.iter().map(ToString::to_string).collect()
    }

    /// Tries each read that the gateway needs. One that does not reach the server says all that the others would.
    async fn unread(&self) -> Vec<Unread> {
        let mut found = Vec::new();
        for collection in COLLECTIONS {
            for name in ["find", "aggregate"] {
                let Err(failed) = self.try_read(collection, name).await else {
                    continue;
                };
                let of_all = !matches!(failed.kind, Kind::Command);
                found.push(Unread {
                    operation: format!("{name} on {collection}"),
                    reason: failed.reason,
                    denied: failed.denied,
                });
                if of_all {
                    return found;
                }
            }
        }
        found
    }

    async fn try_read(&self, collection: &'static str, name: &'static str) -> Result<(), Failed> {
        let store = self.clone();
        let tried = self.run(async move {
            let database = store.database().await?;
            let read = database.collection::<Document>(collection);
            let read = match name {
                "find" => read.find(doc! { "_id": NOTHING }).limit(1).await.map(drop),
                _ => read
                    .aggregate([doc! { "$match": { "_id": NOTHING } }])
                    .await
                    .map(drop),
            };
            let Err(error) = read else {
                return Ok(None);
            };
            let error = store.errors.reason(error);
            let concern = database.read_concern().map(read_concern::level);
            let Some(level) = concern.filter(|_| is_refusal(&error)) else {
                return Ok(Some(Failed::of(&error)));
            };
            // The same read without a read concern, which only raw commands are sent without.
            let bare = match name {
                "find" => doc! { "find": collection, "filter": { "_id": NOTHING }, "limit": 1 },
                _ => {
                    doc! { "aggregate": collection, "pipeline": [{ "$match": { "_id": NOTHING } }], "cursor": {} }
                }
            };
            let bare = database.run_command(bare).await;
            let failed = Failed::of(&error);
            Ok(Some(match bare {
                Ok(_) => {
                    store.concern_refused.store(true, Ordering::Release);
                    failed.by_concern(&level)
                }
                Err(_) => failed,
            }))
        });
        match tried.await {
            Ok(None) => Ok(()),
            Ok(Some(failed)) => Err(failed),
            Err(error) => Err(Failed::before(&error)),
        }
    }
}

/// Returns `true` if the server answered that it never performs such a command.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(refused) if !code::is_transient(refused.code))
}

/// The party at fault when a read fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The server refuses the command.
    Command,
    /// The server is not reached, or does not admit the user.
    Connection,
}

/// A read that failed.
#[derive(Debug)]
struct Failed {
    kind: Kind,
    reason: String,
    denied: bool,
}

impl Failed {
    fn of(error: &Error) -> Self {
        let trouble = Trouble::of(error);
        let (kind, words) = match error.kind.as_ref() {
            ErrorKind::Command(refused) => (Kind::Command, words(&refused.message)),
            _ => (Kind::Connection, String::new()),
        };
        Self {
            kind,
            reason: format!("{trouble}{words}"),
            denied: trouble.is_denial(),
        }
    }

    /// A failure before the read was tried.
    fn before(error: &StoreError) -> Self {
        Self {
            kind: Kind::Connection,
            reason: error.to_string(),
            denied: false,
        }
    }

    fn by_concern(self, level: &str) -> Self {
        Self {
            reason: format!(
                "{}; the server does not take the read concern {level}: set readConcernLevel=local in MONGO_URI",
                self.reason
            ),
            ..self
        }
    }
}

/// The server's words, as far as they don't quote the command.
fn words(message: &str) -> String {
    let end = message.find('{').unwrap_or(message.len());
    let words: String = message[..end]
        .chars()
        .filter(|letter| !letter.is_control())
        .take(200)
        .collect();
    let words = words.trim();
    if words.is_empty() {
        String::new()
    } else {
        format!(" ({words})")
    }
}
