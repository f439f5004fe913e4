//! MongoDB: performs what `fold` decided, and says of each failure whether to retry or to park.
//!
//! Only commands that every supported server knows are used, in bulk, unordered. A driver future is never
//! dropped (its connection would be in an unknown state): each runs in a task of its own, and only the wait
//! for it ends.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use mongodb::{
    Client, Database,
    bson::{Document, RawDocumentBuf, doc},
    error::ErrorKind,
    options::{Acknowledgment, ClientOptions, FindOptions, WriteConcern},
};
use ticket_mongo::{DATABASE, code, server_errors::ServerErrors};
use ticket_shared::{config::Secret, lifecycle::Lifecycle};
use tokio::sync::{OnceCell, Semaphore, oneshot};

use crate::fold::{Scope, Writes};

mod command;
mod legacy;
mod lookup;
mod reply;
mod rights;
mod tally;

use command::Command;
use reply::Verdict;
use tally::Tally;

/// The collections of the product.
pub(crate) const COLLECTIONS: [&str; 4] = ["tickets", "messages", "events", "reads"];
/// The server's word for: the collection is there.
const EXISTS: i32 = 48;
/// Connections, and so operations that run at once, those that nobody waits for any more included.
const CONNECTIONS: u32 = 32;
/// Commands of one batch that run at once.
const LANES: usize = 4;
/// For how long an operation is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// For how long replicas may take to confirm a write.
const CONFIRMATION: Duration = Duration::from_secs(5);

/// Why a batch has to be tried again. What may be wrong with one document is a [`Refused`] instead.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    #[error("MongoDB did not answer in time")]
    TimedOut,
    #[error("MongoDB can't be reached: {0}")]
    Unreachable(String),
    #[error("MongoDB refused a command with error {0}")]
    Command(i32),
    #[error("MongoDB could not write a document, error {0}")]
    Write(i32),
    #[error("MongoDB could not confirm writes, error {0}")]
    Unconfirmed(i32),
    #[error("the task of an operation was ended")]
    Ended,
}

/// A batch that was not stored, and where that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{failure}{}, writing {collection}", self.name())]
pub(crate) struct Unstored {
    /// The collection.
    pub(crate) collection: &'static str,
    /// Why.
    pub(crate) failure: Failure,
}

impl From<Failure> for Unstored {
    fn from(failure: Failure) -> Self {
        Self {
            collection: "tickets of another server",
            failure,
        }
    }
}

impl Unstored {
    fn name(&self) -> &'static str {
        match self.failure {
            Failure::Command(code) | Failure::Write(code) | Failure::Unconfirmed(code) => {
                name_of(code)
            }
            _ => "",
        }
    }
}

/// The server's name for its error, which an operator can look up.
fn name_of(code: i32) -> &'static str {
    match code {
        13 => " (Unauthorized: the user may not do this)",
        18 => " (AuthenticationFailed)",
        64 => " (WriteConcernFailed: too few servers confirm writes in time)",
        100 => " (UnsatisfiableWriteConcern: too few servers for the write concern)",
        148 => " (ReadConcernMajorityNotEnabled)",
        166 => " (CommandNotSupportedOnView: it is a view, not a collection)",
        8000 => " (AtlasError: a quota of the provider, most likely its space)",
        14_031 => " (OutOfDiskSpace)",
        16_500 => " (RequestRateTooLarge: a quota of the provider)",
        _ => "",
    }
}

/// Why MongoDB does not take a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The server said so, with this code.
    #[error("MongoDB error {0}")]
    Code(i32),
    /// It is larger than MongoDB's limit.
    #[error("larger than MongoDB's limit")]
    TooLarge,
    /// It can't be written as BSON.
    #[error("can't be written as BSON")]
    Unwritable,
    /// Another document holds a value that a unique index other than that of `_id` allows once.
    #[error("a unique index holds its value already")]
    NotUnique,
}

/// How errors are met that are not understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effort {
    /// They fail the batch, which is performed again.
    Together,
    /// They are narrowed down to the documents that they are about.
    Apart,
}

/// An entry whose document MongoDB does not take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refused {
    /// The entry's place in the folded slice.
    pub(crate) entry: usize,
    /// What was left undone.
    pub(crate) scope: Scope,
    /// Why.
    pub(crate) why: Refusal,
}

/// Writes to one database.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    database: Database,
    concern: RawDocumentBuf,
    concern_document: Document,
    permits: Arc<Semaphore>,
    prepared: Arc<OnceCell<()>>,
    /// Errors for which the driver finds no server.
    errors: ServerErrors,
    life: Lifecycle,
}

impl Store {
    /// Reads the URI and makes a client, which connects when it is used.
    ///
    /// # Errors
    /// Where the servers behind a `mongodb+srv` name can't be looked up.
    pub(crate) async fn open(uri: &Secret, life: Lifecycle) -> Result<Self, mongodb::error::Error> {
        let mut options = ClientOptions::parse(uri.expose()).await?;
        options
            .app_name
            .get_or_insert_with(|| "ticket-worker".into());
        options.max_pool_size.get_or_insert(CONNECTIONS);
        options.retry_writes.get_or_insert(true);
        options
            .server_selection_timeout
            .get_or_insert(Duration::from_secs(3));
        options
            .connect_timeout
            .get_or_insert(Duration::from_secs(3));
        let concern = confirmed(options.write_concern.take().unwrap_or_default());
        options.write_concern = Some(concern.clone());
        let name = options
            .default_database
            .clone()
            .unwrap_or_else(|| DATABASE.into());
        let errors = ServerErrors::default();
        errors.collect(&mut options);
        Ok(Self {
            database: Client::with_options(options)?.database(&name),
            concern: mongodb::bson::serialize_to_raw_document_buf(&concern)?,
            concern_document: mongodb::bson::serialize_to_document(&concern)?,
            permits: Arc::new(Semaphore::new(CONNECTIONS as usize)),
            prepared: Arc::default(),
            errors,
            life,
        })
    }

    /// Ends the connections.
    pub(crate) async fn close(&self) {
        let shutdown = self.database.client().clone().shutdown().immediate(true);
        // Nothing of ours waits for it.
        let _ = tokio::time::timeout(Duration::from_secs(2), shutdown.into_future()).await;
    }

    /// Creates the collections before anything is written or indexed: a write that creates its collection and
    /// an index build that does the same get in each other's way.
    pub(crate) async fn prepare(&self) -> Result<(), Failure> {
        let prepared = self.prepared.get_or_try_init(|| async {
            for collection in COLLECTIONS {
                match self.run(doc! { "create": collection }).await {
                    Ok(_) | Err(Failure::Command(EXISTS)) => {}
                    // Not allowed, perhaps. If that matters, the writes will say so.
                    Err(Failure::Command(code)) if Failure::Command(code).declines() => {
                        tracing::warn!(collection, code, "collection not created");
                    }
                    Err(failure) => return Err(failure),
                }
            }
            Ok(())
        });
        prepared.await.copied()
    }

    /// Performs `writes` and says which entries' documents are refused; everything else is stored.
    ///
    /// # Errors
    /// Where something may or may not be stored, and all has to be performed again, which is harmless.
    pub(crate) async fn perform(
        &self,
        writes: &Writes,
        effort: Effort,
    ) -> Result<Vec<Refused>, Unstored> {
        self.prepare().await.map_err(|failure| Unstored {
            collection: "its collections",
            failure,
        })?;
        let mut refused = self.take_over(&writes.adopted, effort).await?;
        refused.extend(self.write(writes, effort).await?);
        Ok(refused)
    }

    /// Performs everything but adoptions.
    async fn write(&self, writes: &Writes, effort: Effort) -> Result<Vec<Refused>, Unstored> {
        let (mut todo, mut refused) = command::commands(writes);
        let mut tally = Tally::default();
        while !todo.is_empty() {
            let done: Vec<_> = stream::iter(todo)
                .map(|command| async move { (self.send(&command).await, command) })
                .buffer_unordered(LANES)
                .collect()
                .await;
            todo = Vec::new();
            for (reply, command) in done {
                match reply::verdict(&command, reply, effort) {
                    Verdict::Retry(failure) => {
                        let collection = command.collection();
                        return Err(Unstored {
                            collection,
                            failure,
                        });
                    }
                    // One of them is too much for the server: look for it.
                    Verdict::Halve => todo.extend(command.halves()),
                    Verdict::Settled {
                        refused: more,
                        collided,
                    } => {
                        tally.count(&command, &more);
                        refused.extend(more);
                        todo.extend(command.without_upsert(&collided));
                    }
                }
            }
        }
        tally.blame()?;
        Ok(refused)
    }

    async fn send(&self, command: &Command) -> Result<Document, Failure> {
        let command = command.encode(&self.concern);
        let database = self.database.clone();
        let answer = self.detached(async move { database.run_raw_command(command).await });
        answer.await?.map_err(|error| self.failure(error))
    }

    /// Everything that matches, in full.
    pub(crate) async fn find(
        &self,
        collection: &str,
        filter: Document,
        options: FindOptions,
    ) -> Result<Vec<RawDocumentBuf>, Failure> {
        let collection = self.database.collection::<RawDocumentBuf>(collection);
        let found = self.detached(async move {
            let cursor = collection.find(filter).with_options(options).await?;
            cursor.try_collect().await
        });
        found.await?.map_err(|error| self.failure(error))
    }

    /// Runs a write command whose single operations may fail; its reply.
    ///
    /// # Errors
    /// Also if the write could not be confirmed.
    pub(crate) async fn write_command(&self, mut command: Document) -> Result<Document, Failure> {
        command.insert("writeConcern", &self.concern_document);
        let database = self.database.clone();
        let answer = self.detached(async move { database.run_command(command).await });
        let reply = answer.await?.map_err(|error| self.failure(error))?;
        match reply.get_document("writeConcernError") {
            Ok(error) => Err(Failure::Unconfirmed(error.get_i32("code").unwrap_or(0))),
            Err(_) => Ok(reply),
        }
    }

    /// Asks the server for a sign of life.
    pub(crate) async fn ping(&self) -> Result<(), Failure> {
        self.run(doc! { "ping": 1 }).await.map(drop)
    }

    /// Runs a command that is no write.
    pub(crate) async fn run(&self, command: Document) -> Result<Document, Failure> {
        let database = self.database.clone();
        // Some of these take long, the build of an index for one; they are waited for.
        let answer = self.task(async move { database.run_command(command).await });
        answer.await?.map_err(|error| self.failure(error))
    }

    fn failure(&self, error: mongodb::error::Error) -> Failure {
        Failure::of(&self.errors.reason(error))
    }

    /// Runs `operation` to its end, but waits for it only so long.
    async fn detached<T: Send + 'static>(
        &self,
        operation: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Failure> {
        tokio::time::timeout(PATIENCE, self.task(operation))
            .await
            .map_err(|_| Failure::TimedOut)?
    }

    async fn task<T: Send + 'static>(
        &self,
        operation: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Failure> {
        let permit = self.permits.clone().acquire_owned().await;
        let (sender, receiver) = oneshot::channel();
        self.life.spawn(async move {
            let _permit = permit;
            // Nobody may be waiting any more.
            let _ = sender.send(operation.await);
        });
        receiver.await.map_err(|_| Failure::Ended)
    }
}

impl Failure {
    /// If the server has declined something that it is only asked for to make things better.
    pub(crate) fn declines(&self) -> bool {
        const UNAUTHORIZED: i32 = 13;
        matches!(self, Self::Command(UNAUTHORIZED)) || !self.passes()
    }

    /// Whether it may go away by itself. Otherwise the server has understood the command and declined.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Command(refused) | Self::Write(refused) => code::is_transient(*refused),
            _ => true,
        }
    }

    /// What the driver says, without what might quote a document.
    pub(crate) fn of(error: &mongodb::error::Error) -> Self {
        match &*error.kind {
            ErrorKind::Command(refused) => Self::Command(refused.code),
            ErrorKind::Io(error) => Self::Unreachable(error.kind().to_string()),
            ErrorKind::ServerSelection { .. } => Self::Unreachable("no server to write to".into()),
            ErrorKind::ConnectionPoolCleared { .. } => Self::Unreachable("connection lost".into()),
            ErrorKind::Authentication { .. } => Self::Unreachable("authentication failed".into()),
            ErrorKind::DnsResolve { .. } => Self::Unreachable("name not resolved".into()),
            ErrorKind::InvalidTlsConfig { .. } => Self::Unreachable("TLS".into()),
            _ => Self::Unreachable("the driver failed".into()),
        }
    }
}

/// Writes count once a majority has journaled them, unless the URI says otherwise.
fn confirmed(mut concern: WriteConcern) -> WriteConcern {
    concern.w.get_or_insert(Acknowledgment::Majority);
    concern.journal.get_or_insert(true);
    concern.w_timeout.get_or_insert(CONFIRMATION);
    concern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_confirmed_by_a_majority_unless_the_uri_says_otherwise() {
        let concern = confirmed(WriteConcern::default());
        assert_eq!(concern.w, Some(Acknowledgment::Majority));
        assert_eq!(concern.journal, Some(true));
        let mut single = WriteConcern::default();
        single.w = Some(Acknowledgment::Nodes(1));
        assert_eq!(confirmed(single).w, Some(Acknowledgment::Nodes(1)));
    }
}
