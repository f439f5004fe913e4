//! How a gateway reads MongoDB. The worker is its only writer.
//!
//! What must hold:
//! - A read never misses what the worker's watermark calls persisted. So reads go to the primary, which has
//!   applied every write that a majority acknowledged; a secondary may lag behind the watermark.
//! - A read never shows what a failover may take back, because the gateway warms Redis from it. So the read
//!   concern is `majority`; on the primary, a write is in its majority snapshot before it is acknowledged.
//! - Futures of the driver are never dropped half-way: that may leave its internals inconsistent. Each
//!   operation runs in a task of its own, and only the waiting for it ends at the deadline.
//! - One odd document never fails a list: [`ticket_mongo::documents`] gives an odd field its default.

use std::{
    future::{Future, IntoFuture},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::TryStreamExt;
use mongodb::{
    Client, Database,
    bson::{Document, RawDocumentBuf, doc},
    options::{ClientOptions, FindOptions, ReadConcern, ReadPreference, SelectionCriteria},
};
use ticket_mongo::{DATABASE, form, server_errors::ServerErrors, uri};
use ticket_shared::{
    config::{BadSetting, Secret},
    id::Id,
    lifecycle::Lifecycle,
};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, oneshot};

mod audit;
mod batches;
mod failure;
mod messages;
mod reads;
mod tickets;

pub use failure::{StoreError, Trouble, Unreachable};
pub use messages::{Edge, Unnumbered};
pub use reads::ReadHealth;
pub use ticket_mongo::documents::Stored;

/// Operations at a time, those that nobody waits for any more included; also the size of the pool.
const CONCURRENT: u32 = 32;

/// Operations at a time that look at every ticket, those that nobody waits for any more included.
const COUNTING: usize = 2;

/// How long the driver looks for a primary, where the deadline leaves it that long.
const SELECTION: Duration = Duration::from_secs(2);

/// How long a new connection may take. The driver's monitor gives up on a silent server after this and its
/// heartbeat, and then ends the operations that still wait for that server.
const CONNECT: Duration = Duration::from_secs(3);

/// A handle on the database; clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    uri: Secret,
    database: Arc<OnceCell<Database>>,
    life: Lifecycle,
    deadline: Duration,
    slots: Arc<Semaphore>,
    /// Those of them that look at every ticket.
    counting: Arc<Semaphore>,
    /// Errors for which the driver finds no server.
    errors: ServerErrors,
    /// A read failed since that was last looked at.
    failed: Arc<AtomicBool>,
    /// The server does not take the read concern, which every read has: no defect of ours.
    concern_refused: Arc<AtomicBool>,
}

impl Store {
    /// A store of this URI. It connects with the first operation, and again whenever it has to: names that
    /// can't be resolved yet are no reason not to start. `deadline` bounds each operation, the waiting for a
    /// connection included.
    ///
    /// # Errors
    /// Names `MONGO_URI`, as [`uri::check`].
    pub fn new(uri: &Secret, life: Lifecycle, deadline: Duration) -> Result<Self, BadSetting> {
        uri::check(uri)?;
        Ok(Self {
            uri: uri.clone(),
            database: Arc::default(),
            life,
            deadline,
            slots: Arc::new(Semaphore::new(CONCURRENT as usize)),
            counting: Arc::new(Semaphore::new(COUNTING)),
            errors: ServerErrors::default(),
            failed: Arc::default(),
            concern_refused: Arc::default(),
        })
    }

    /// The database, whose hosts are looked up where that was not done yet.
    async fn database(&self) -> mongodb::error::Result<Database> {
        let open = async || {
            let mut options = ClientOptions::parse(self.uri.expose()).await?;
            options.app_name.get_or_insert("ticket-gateway".to_owned());
            options.max_pool_size.get_or_insert(CONCURRENT);
            options.connect_timeout.get_or_insert(CONNECT);
            options.server_selection_timeout = Some(SELECTION.min(self.deadline));
            options.selection_criteria =
                Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
            // What the URI asks for holds: not every server has majorities.
            options.read_concern.get_or_insert(ReadConcern::majority());
            self.errors.collect(&mut options);
            let name = options.default_database.clone();
            let name = name.unwrap_or_else(|| DATABASE.to_owned());
            Ok(Client::with_options(options)?.database(&name))
        };
        self.database.get_or_try_init(open).await.cloned()
    }

    /// Ends the connections. The driver's own tasks must not outlive the runtime.
    pub async fn close(&self) {
        if let Some(database) = self.database.get() {
            let shutdown = database.client().clone().shutdown().immediate(true);
            // Nothing of ours waits for it.
            let _ = tokio::time::timeout(self.deadline, shutdown.into_future()).await;
        }
    }

    /// Asks the primary for a sign of life.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] where there is none within the deadline.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let store = self.clone();
        self.run(async move {
            let database = store.database().await?;
            database.run_command(doc! { "ping": 1 }).await.map(drop)
        })
        .await
    }

    /// Runs an operation to its end in a task of its own, and waits for it no longer than the deadline.
    async fn run<T: Send + 'static>(
        &self,
        operation: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let answered = async {
            let stopping = || StoreError::Unreachable(Unreachable::Stopping);
            let slot = self
                .slots
                .clone()
                .acquire_owned()
                .await
                .map_err(|_| stopping())?;
            let (answer, answered) = oneshot::channel();
            self.life.spawn(async move {
                let _slot = slot;
                // Nobody listens any more where the deadline has passed.
                let _ = answer.send(operation.await);
            });
            // The task ends without an answer only when the process ends it.
            answered
                .await
                .map_err(|_| stopping())?
                .map_err(|error| StoreError::from(self.errors.reason(error)))
        };
        let outcome = match tokio::time::timeout(self.deadline, answered).await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::Unreachable(Unreachable::Late(self.deadline))),
        };
        if outcome.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        match outcome {
            Err(StoreError::Refused(trouble)) if self.concern_refused.load(Ordering::Acquire) => {
                Err(StoreError::Unreachable(Unreachable::Driver(trouble)))
            }
            outcome => outcome,
        }
    }

    /// The documents of this id, whatever form they hold it in.
    async fn find_all(&self, collection: &str, id: Id) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let forms: Vec<_> = form::forms(id).collect();
        let options = FindOptions::builder()
            .limit(i64::try_from(forms.len()).unwrap_or(1))
            .build();
        let filter = doc! { "_id": { "$in": forms } };
        self.find(collection, filter, options).await
    }

    /// The documents that match.
    async fn find(
        &self,
        collection: &str,
        filter: Document,
        mut options: FindOptions,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        // The server, too, gives up what nobody waits for any more.
        options.max_time = Some(self.deadline);
        let (store, collection) = (self.clone(), collection.to_owned());
        self.run(async move {
            let collection = store
                .database()
                .await?
                .collection::<RawDocumentBuf>(&collection);
            let cursor = collection.find(filter).with_options(options).await?;
            cursor.try_collect().await
        })
        .await
    }

    /// What a pipeline makes of a collection, of which it looks at every document: at most [`COUNTING`] do so at a time.
    async fn aggregate_all(
        &self,
        collection: &str,
        pipeline: Vec<Document>,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let place = self.counting.clone().try_acquire_owned();
        let place = place.map_err(|_| StoreError::Unreachable(Unreachable::Late(self.deadline)))?;
        self.aggregate_holding(collection, pipeline, Some(place))
            .await
    }

    /// What a pipeline makes of a collection.
    async fn aggregate(
        &self,
        collection: &str,
        pipeline: Vec<Document>,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        self.aggregate_holding(collection, pipeline, None).await
    }

    async fn aggregate_holding(
        &self,
        collection: &str,
        pipeline: Vec<Document>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let deadline = self.deadline;
        let (store, collection) = (self.clone(), collection.to_owned());
        self.run(async move {
            let _place = place;
            let collection = store
                .database()
                .await?
                .collection::<RawDocumentBuf>(&collection);
            let aggregate = collection.aggregate(pipeline).max_time(deadline);
            let cursor = aggregate.with_type::<RawDocumentBuf>().await?;
            cursor.try_collect().await
        })
        .await
    }
}
