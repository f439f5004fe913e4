//! The worker: moves the tickets' logs from Redis into MongoDB.
//!
//! It is the only writer of tickets, messages and events there. It runs as many times as one likes: the
//! consumer group gives each entry to one of them, what one leaves unfinished another takes over, and doing
//! anything twice changes nothing.

use std::net::SocketAddr;

use fred::{clients::Client, interfaces::ClientLike};
use ticket_shared::{
    config::BadSetting,
    lifecycle::{Lifecycle, TaskDied},
    redis::{self, Entrance, Program},
    telemetry,
};
use tokio::net::TcpListener;

mod adopt;
mod backoff;
pub mod check;
mod check_database;
mod config;
mod consumer;
mod consumers;
mod database;
pub mod dead;
mod delivery;
pub mod fold;
mod indexes;
mod metrics;
mod obstacles;
mod pace;
mod probe;
#[cfg(test)]
mod sample;
mod script;
mod settle;
mod store;
mod stream_id;
mod sweep;
mod trim;
mod watermark;

pub use adopt::{Adopt, AdoptError};
pub use check_database::CheckDatabase;
pub use config::{Command, Config};

use consumer::{Reader, Settings};
use consumers::Consumers;
use dead::Dead;
use metrics::Metrics;
use probe::Health;
use settle::Settler;
use store::Store;
use sweep::Sweeper;
use watermark::Watermark;

/// Why a worker does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting turned out to be wrong.
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// A setting does not fit the server that it leads to.
    #[error(transparent)]
    Unfit(BadSetting),
    /// A task ended that should not have.
    #[error(transparent)]
    Task(#[from] TaskDied),
    /// Parked entries could not be looked after as asked.
    #[error(transparent)]
    Dead(#[from] dead::DeadError),
    /// Tickets of another server could not be looked at, or taken over to the end.
    #[error(transparent)]
    Adopt(#[from] AdoptError),
}

/// A worker that runs.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Where it answers operators.
    pub ops: SocketAddr,
    store: Store,
}

impl Worker {
    /// Ends the connections to MongoDB, once every task has ended. The driver's own tasks must not outlive the
    /// runtime.
    pub async fn close(&self) {
        self.store.close().await;
    }
}

/// Does what the settings ask for: looks after parked entries, or works until the process is asked to stop.
///
/// # Errors
/// Where that can't be done, or a task of the worker died.
pub async fn run(config: &Config, life: Lifecycle) -> Result<(), Error> {
    match &config.command {
        Some(Command::Dead(command)) => {
            let done = dead::perform(command, &config.common, &mut std::io::stdout()).await;
            Ok(done?)
        }
        Some(Command::CheckDatabase(check)) => {
            let done = check_database::perform(check, config, &life, &mut std::io::stdout()).await;
            life.shutdown(config.grace()).await;
            Ok(done?)
        }
        Some(Command::Adopt(adopt)) => {
            let done = adopt::perform(adopt, config, &life, &mut std::io::stdout()).await;
            life.shutdown(config.grace()).await;
            Ok(done?)
        }
        _ => work(config, life).await,
    }
}

/// Runs a worker until the process is asked to stop, and lets it finish what it has in hand.
async fn work(config: &Config, life: Lifecycle) -> Result<(), Error> {
    let mut worker = None;
    let ended = tokio::select! {
        started = start(config, &life) => match started {
            Ok(started) => {
                worker = Some(started);
                life.until_stopped().await.map_err(Error::from)
            }
            Err(error) => Err(error),
        },
        ended = life.until_stopped() => ended.map_err(Error::from),
    };
    life.shutdown(config.grace()).await;
    if let Some(worker) = worker {
        worker.close().await;
    }
    tracing::info!("worker stopped");
    ended
}

/// Starts the tasks of a worker under `life`. Neither Redis nor MongoDB has to be there.
///
/// # Errors
/// Where a setting turns out to be wrong: a port that is taken, for one.
pub async fn start(config: &Config, life: &Lifecycle) -> Result<Worker, Error> {
    let stopping = life.stopping().clone();
    let (metrics, health) = (Metrics::default(), Health::default());
    telemetry::report_suppressed(life);
    let listener = listen(config).await?;
    let ops = listener
        .local_addr()
        .map_err(|error| taken(config, &error))?;
    life.spawn_vital(
        "ops",
        probe::serve(listener, health.clone(), metrics.clone(), stopping.clone()),
    );

    let found = Entrance::find(&config.common, Program::Worker, life).await;
    let entrance = found.map_err(Error::Unfit)?;
    let redis = redis::client(entrance.url())?;
    health.watch_connection(entrance.closed());
    health.watch_connection(redis::tell_why(&redis, life));
    redis::keep_on_primary(&redis, life);
    // Connects in the background, and again whenever the connection is lost.
    entrance.connect(&redis, life);
    life.spawn_vital(
        "redis health",
        probe::watch_redis(
            redis.clone(),
            entrance.clone(),
            health.clone(),
            stopping.clone(),
        ),
    );

    let store = open_store(config, life).await;
    life.spawn_vital(
        "mongo health",
        probe::watch_mongo(store.clone(), health.clone(), stopping.clone()),
    );
    life.spawn(database::prepare(
        store.clone(),
        health.clone(),
        metrics.clone(),
        stopping.clone(),
    ));

    let keys = entrance.keys().clone();
    let consumers = Consumers::new(
        keys.clone(),
        &config.consumer,
        config.consumer_gone(),
        metrics.clone(),
    );
    let sweeper = Sweeper::new(
        redis.clone(),
        keys.clone(),
        store.clone(),
        metrics.clone(),
        config.common.hot_for,
    );
    life.spawn_vital("sweep", sweeper.run(stopping.clone()));
    life.spawn_vital(
        "trim",
        trim::run(
            redis.clone(),
            keys.clone(),
            consumers,
            metrics.clone(),
            stopping,
        ),
    );
    let readers = start_readers(config, life, &entrance, &redis, &store, &metrics, &health)?;
    tracing::info!(
        ops.address = %ops,
        consumer = config.consumer,
        partitions = keys.partitions(),
        readers,
        "worker started"
    );
    Ok(Worker { ops, store })
}

/// Starts the readers: one for all partitions, or, on a Redis Cluster, which does not read the streams of
/// several slots at once, one for each.
fn start_readers(
    config: &Config,
    life: &Lifecycle,
    entrance: &Entrance,
    redis: &Client,
    store: &Store,
    metrics: &Metrics,
    health: &Health,
) -> Result<usize, BadSetting> {
    let keys = entrance.keys();
    let all: Vec<u16> = (0..keys.partitions()).collect();
    let shares: Vec<Vec<u16>> = if redis.is_clustered() || keys.apart() {
        all.into_iter().map(|partition| vec![partition]).collect()
    } else {
        vec![all]
    };
    let readers = shares.len();
    for partitions in shares {
        let settler = Settler {
            redis: redis.clone(),
            keys: keys.clone(),
            store: store.clone(),
            watermark: Watermark::new(keys.clone(), config.common.hot_for),
            dead: Dead::new(keys.clone(), metrics.clone()),
            metrics: metrics.clone(),
            reporter: health.reporter(),
            park_after: config.park_after(),
            stopping: life.stopping().clone(),
            known: std::sync::Mutex::default(),
        };
        let settings = Settings {
            consumer: config.consumer.clone(),
            batch: config.batch,
            batch_max: config.batch_max,
            patience: config.claim_idle().min(config.grace()) / 4,
            block: config.block(),
            linger: config.linger(),
            claim_idle: config.claim_idle(),
        };
        let blocking = redis::blocking_client(entrance.url(), config.block())?;
        health.watch_connection(redis::tell_why(&blocking, life));
        redis::follow_sentinel(&blocking, life);
        // Again whenever the connection is lost.
        entrance.connect(&blocking, life);
        let reader = Reader::new(blocking, settler, partitions, settings);
        life.spawn_vital("reader", reader.run());
    }
    Ok(readers)
}

/// Opens the store, which may have to wait for the name server where the URI is a `mongodb+srv` one.
async fn open_store(config: &Config, life: &Lifecycle) -> Store {
    let mut backoff = backoff::Backoff::default();
    loop {
        match Store::open(&config.common.mongo_uri, life.clone()).await {
            Ok(store) => return store,
            Err(error) => {
                let reason = store::Failure::of(&error).to_string();
                tracing::warn!(reason, "MONGO_URI can't be used, trying again");
            }
        }
        if !backoff.wait(life.stopping()).await {
            // Whoever asked for the stop does not wait for the start any more.
            std::future::pending::<()>().await;
        }
    }
}

async fn listen(config: &Config) -> Result<TcpListener, BadSetting> {
    TcpListener::bind((config.ops_host.unwrap_or(config.host), config.ops_port))
        .await
        .map_err(|error| taken(config, &error))
}

fn taken(config: &Config, error: &std::io::Error) -> BadSetting {
    let (host, port) = (config.ops_host.unwrap_or(config.host), config.ops_port);
    let setting = match error.kind() {
        std::io::ErrorKind::AddrNotAvailable if config.ops_host.is_some() => "OPS_HOST",
        std::io::ErrorKind::AddrNotAvailable => "HOST",
        _ => "OPS_PORT",
    };
    BadSetting::new(
        setting,
        format!("can't listen on {host}:{port}: {}", error.kind()),
    )
}
