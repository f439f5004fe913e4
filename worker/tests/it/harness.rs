//! A world for one test: a prefix in Redis and a database, both gone when the test ends, and workers on them.

use std::{collections::HashMap, fmt::Write as _, time::Duration};

use clap::Parser;
use fred::{
    clients::Client,
    interfaces::{
        ClientLike, HashesInterface, KeysInterface, SortedSetsInterface, StreamsInterface,
    },
    types::{Value, scan::Scanner},
};
use futures::TryStreamExt;
use mongodb::{Database, bson::doc};
use ticket_shared::{
    config::Secret,
    lifecycle::Lifecycle,
    redis,
    stream::{Entry, FIELD, Keys},
};
use ticket_worker::{Config, Worker};
use tokio::time::Instant;

use crate::sample::Log;

/// How long a condition may take to come true.
const DEADLINE: Duration = Duration::from_mins(1);
/// When tickets became dirty here, in ms since 1970: their entries come later, and must not be missed before.
const FUTURE: f64 = 4e12;
/// Partitions of every world.
const PARTITIONS: u16 = 4;

/// Where one test happens.
pub(crate) struct World {
    pub(crate) redis: Client,
    pub(crate) keys: Keys,
    pub(crate) db: Database,
    pub(crate) redis_url: String,
    pub(crate) mongo_uri: String,
}

/// A worker, and the means to end it.
pub(crate) struct Running {
    pub(crate) life: Lifecycle,
    pub(crate) worker: Worker,
}

fn address(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: these tests need a real Redis and a server of the MongoDB protocol")
    })
}

/// The URI with another database in its path.
fn with_database(uri: &str, name: &str) -> String {
    let (scheme, rest) = uri.split_once("://").expect("MONGO_URI is a URI");
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let host = place.split('/').next().expect("MONGO_URI has a host");
    let mut uri = format!("{scheme}://{host}/{name}");
    if !query.is_empty() {
        uri = format!("{uri}?{query}");
    }
    uri
}

fn random() -> String {
    let mut bytes = [0_u8; 6];
    getrandom::fill(&mut bytes).expect("random bytes");
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string");
        text
    })
}

impl World {
    pub(crate) async fn new() -> Self {
        let name = format!("worker_test_{}", random());
        let redis_url = address("REDIS_URL");
        let mongo_uri = with_database(&address("MONGO_URI"), &name);
        let redis = redis::client(&Secret::new(&*redis_url)).expect("REDIS_URL is a URL");
        redis.init().await.expect("Redis is there");
        let mongo = mongodb::Client::with_uri_str(&mongo_uri).await;
        let db = mongo.expect("MONGO_URI is a URI").database(&name);
        db.run_command(doc! { "ping": 1 })
            .await
            .expect("MongoDB is there");
        Self {
            keys: Keys::new(&name, PARTITIONS),
            redis,
            db,
            redis_url,
            mongo_uri,
        }
    }

    /// Settings of a worker here, with those in `more` on top.
    pub(crate) fn config(&self, consumer: &str, more: &[&str]) -> Config {
        let partitions = PARTITIONS.to_string();
        let mut args = vec![
            "ticket-worker",
            "--key-prefix",
            self.keys.prefix(),
            "--partitions",
            &partitions,
            "--host=127.0.0.1",
            "--ops-port=0",
            "--block-ms=50",
            "--consumer",
            consumer,
        ];
        for (flag, value) in [
            ("--redis-url", self.redis_url.as_str()),
            ("--mongo-uri", self.mongo_uri.as_str()),
        ] {
            if !more.contains(&flag) {
                args.extend([flag, value]);
            }
        }
        args.extend(more);
        let config = Config::try_parse_from(args).expect("arguments are right");
        config.resolve().expect("settings are right")
    }

    pub(crate) async fn start(&self, consumer: &str, more: &[&str]) -> Running {
        ticket_shared::telemetry::init("warn", ticket_shared::config::LogFormat::Pretty);
        let life = Lifecycle::default();
        let config = self.config(consumer, more);
        let worker = ticket_worker::start(&config, &life).await;
        Running {
            worker: worker.expect("the worker starts"),
            life,
        }
    }

    /// Does to Redis what the append script does for every entry of `log`.
    pub(crate) async fn append(&self, log: &Log) {
        self.warm(log).await;
        self.add(&log.entries).await;
    }

    /// The hot state of a ticket, none of it in MongoDB.
    pub(crate) async fn warm(&self, log: &Log) {
        let ticket = log.ticket;
        let state = HashMap::from([
            ("seq", log.seq().to_string()),
            ("persisted", "0".into()),
            ("head", "{}".into()),
        ]);
        let _: () = self
            .redis
            .hset(self.keys.state(ticket), state)
            .await
            .expect("HSET");
        let (idem, log) = (self.keys.idem(ticket), self.keys.log(ticket));
        let _: () = self.redis.hset(idem, ("m", "1")).await.expect("HSET");
        let added = self.redis.xadd(log, false, None, "1-0", ("k", "m")).await;
        let _: Value = added.expect("XADD");
        let dirty = self.keys.dirty(self.keys.partition(ticket));
        let _: () = self
            .redis
            .zadd(
                dirty,
                None,
                None,
                false,
                false,
                (FUTURE, ticket.to_string()),
            )
            .await
            .expect("ZADD");
    }

    /// Adds entries to their streams, in this order.
    pub(crate) async fn add(&self, entries: &[Entry]) {
        let pipeline = self.redis.pipeline();
        for entry in entries {
            let key = self.keys.events(self.keys.partition(entry.ticket_id));
            let text = serde_json::to_string(entry).expect("entries are JSON");
            let _: () = pipeline
                .xadd(key, false, None, "*", (FIELD, text))
                .await
                .expect("XADD");
        }
        for added in pipeline.try_all::<Value>().await {
            added.expect("XADD");
        }
    }

    /// Adds something that is no entry; says under which id.
    pub(crate) async fn add_raw(&self, partition: u16, field: &str, value: &[u8]) -> String {
        let entry = (field, Value::Bytes(value.to_vec().into()));
        let key = self.keys.events(partition);
        let id: String = self
            .redis
            .xadd(key, false, None, "*", entry)
            .await
            .expect("XADD");
        id
    }

    /// The end of a test that left nothing behind.
    pub(crate) async fn finish(self, workers: impl IntoIterator<Item = Running>) {
        self.until_drained().await;
        for running in workers {
            assert!(running.stop().await, "the worker stops by itself");
        }
        assert_eq!(self.unsettled().await, (0, 0), "nothing is left pending");
    }
}

impl Running {
    /// Stops the worker; says whether it stopped by itself.
    pub(crate) async fn stop(self) -> bool {
        self.life.shutdown(Duration::from_secs(20)).await
    }

    /// Ends it where it stands.
    pub(crate) async fn kill(self) {
        self.life.shutdown(Duration::ZERO).await;
    }
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < end, "it did not come true that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Drop for World {
    /// Removes the prefix and the database, also where the test failed.
    fn drop(&mut self) {
        let (redis_url, mongo_uri) = (self.redis_url.clone(), self.mongo_uri.clone());
        let (prefix, database) = (self.keys.prefix().to_owned(), self.db.name().to_owned());
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let cleaning = clean(&redis_url, &prefix, &mongo_uri, &database);
            let cleaned =
                runtime.block_on(async { tokio::time::timeout(DEADLINE, cleaning).await });
            cleaned.expect("the servers answer");
        });
        let cleaned = cleaning.join();
        if !std::thread::panicking() {
            cleaned.expect("the test cleans up");
        }
    }
}

async fn clean(redis_url: &str, prefix: &str, mongo_uri: &str, database: &str) {
    let redis = redis::client(&Secret::new(redis_url)).expect("a URL");
    redis.init().await.expect("Redis");
    // One partition after the other: on a Redis Cluster each is on one server.
    for partition in 0..PARTITIONS {
        let pattern = format!("{prefix}:{{{partition}}}:*");
        let mut pages = redis.scan(pattern, Some(1_000), None);
        while let Some(mut page) = pages.try_next().await.expect("SCAN") {
            if let Some(keys) = page.take_results()
                && !keys.is_empty()
            {
                redis.del::<(), _>(keys).await.expect("DEL");
            }
            page.next();
        }
    }
    let mongo = mongodb::Client::with_uri_str(mongo_uri).await;
    let dropped = mongo.expect("a URI").database(database).drop().await;
    dropped.expect("the database is dropped");
}
