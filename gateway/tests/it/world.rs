//! A world for one test: a prefix in Redis and a database of its own, both gone when the test ends.

use std::{future::Future, panic::AssertUnwindSafe, rc::Rc, time::Duration};

use fred::{
    clients::Client,
    interfaces::{ClientLike, KeysInterface},
    types::{Value, scan::Scanner},
};
use futures::{FutureExt, TryStreamExt};
use mongodb::Database;
use ticket_gateway::{
    store::Store,
    ticket::{Tickets, commit::Commit},
    watch::Watch,
};
use ticket_shared::{
    config::Secret,
    id::Id,
    lifecycle::Lifecycle,
    redis,
    stream::{Keys, NewMessage},
};

/// How long anything may take before the test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// Where one test happens.
pub(crate) struct World {
    pub(crate) keys: Keys,
    pub(crate) redis: Client,
    pub(crate) database: Database,
    pub(crate) tickets: Tickets,
    pub(crate) redis_url: String,
    pub(crate) mongo_uri: String,
    pub(crate) life: Lifecycle,
}

/// Runs a test in a world of its own, and removes that also where the test fails.
pub(crate) async fn in_world<F: Future<Output = ()>>(test: impl FnOnce(Rc<World>) -> F) {
    in_world_on(&Secret::new(address("REDIS_URL")), test).await;
}

/// The same, on a Redis of its own.
pub(crate) async fn in_world_on<F: Future<Output = ()>>(
    redis: &Secret,
    test: impl FnOnce(Rc<World>) -> F,
) {
    let world = Rc::new(World::new(redis).await);
    let outcome = AssertUnwindSafe(test(world.clone())).catch_unwind().await;
    world.remove().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Waits for a server that has just been started.
async fn found(url: &Secret) -> redis::Topology {
    let finding = async {
        loop {
            if let Ok(found) = redis::discover(url).await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(DEADLINE, finding).await;
    found.expect("the server answers")
}

fn address(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} must name a server that the tests may use"))
}

impl World {
    async fn new(redis: &Secret) -> Self {
        let name = format!("test-{}", Id::fresh().unwrap());
        let uri = address("MONGO_URI");
        let (scheme, rest) = uri.split_once("://").unwrap();
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let hosts = place.split('/').next().unwrap_or(place);
        let uri = format!("{scheme}://{hosts}/{name}?{options}");
        let database = mongodb::Client::with_uri_str(&uri)
            .await
            .unwrap()
            .database(&name);
        let life = Lifecycle::default();
        let store = Store::new(&Secret::new(uri.as_str()), life.clone(), DEADLINE).unwrap();
        let redis_url = redis.expose().to_owned();
        let found = found(redis).await;
        let redis = redis::client(&found.url).unwrap();
        redis.init().await.unwrap();
        let keys = Keys::new(&name, 4).by_slots(found.by_slots);
        let commit = Commit::start(&redis, &keys, &life);
        let tickets = Tickets::new(redis.clone(), keys.clone(), store, Watch::default(), commit);
        Self {
            keys,
            redis,
            database,
            tickets,
            redis_url,
            mongo_uri: uri,
            life,
        }
    }

    /// The same tickets, as another gateway sees them.
    pub(crate) fn another(&self) -> Tickets {
        let (redis, keys) = (self.redis.clone(), self.keys.clone());
        let store = self.tickets.store().clone();
        let commit = Commit::start(&redis, &keys, &self.life);
        Tickets::new(redis, keys, store, Watch::default(), commit)
    }

    /// The same tickets, as a gateway sees them that can't reach MongoDB.
    pub(crate) fn without_mongo(&self) -> Tickets {
        let nowhere = Secret::new("mongodb://127.0.0.1:1/none?serverSelectionTimeoutMS=200");
        let store = Store::new(&nowhere, self.life.clone(), Duration::from_secs(1)).unwrap();
        let (redis, keys) = (self.redis.clone(), self.keys.clone());
        let commit = Commit::start(&redis, &keys, &self.life);
        Tickets::new(redis, keys, store, Watch::default(), commit)
    }

    /// The same tickets, as a gateway sees them that reaches MongoDB by this address.
    pub(crate) fn by_way_of(&self, address: std::net::SocketAddr) -> Tickets {
        let uri = format!(
            "mongodb://{address}/{}?directConnection=true",
            self.database.name()
        );
        let store = Store::new(&Secret::new(uri), self.life.clone(), DEADLINE).unwrap();
        let (redis, keys) = (self.redis.clone(), self.keys.clone());
        let commit = Commit::start(&redis, &keys, &self.life);
        Tickets::new(redis, keys, store, Watch::default(), commit)
    }

    async fn remove(&self) {
        let pattern = format!("{}:*", self.keys.prefix());
        let found: Vec<Vec<fred::types::Key>> = self
            .redis
            .scan(pattern, Some(500), None)
            .map_ok(|mut page| page.take_results().unwrap_or_default())
            .try_collect()
            .await
            .unwrap();
        for key in found.into_iter().flatten() {
            let _: i64 = self.redis.del(key).await.unwrap();
        }
        self.database.drop().await.unwrap();
        let _: () = self.redis.quit().await.unwrap();
        assert!(
            self.life.shutdown(DEADLINE).await,
            "an operation is still running"
        );
    }

    /// One field of a ticket's hot state.
    pub(crate) async fn state(&self, ticket: Id, field: &str) -> Option<String> {
        use fred::interfaces::HashesInterface;
        let value: Value = self
            .redis
            .hget(self.keys.state(ticket), field)
            .await
            .unwrap();
        value.as_string()
    }

    /// What stands in the stream of a ticket's partition.
    pub(crate) async fn owed(&self, ticket: Id) -> Vec<ticket_shared::stream::Entry> {
        use fred::interfaces::StreamsInterface;
        let key = self.keys.events(self.keys.partition(ticket));
        let entries: Vec<(String, std::collections::HashMap<String, String>)> =
            self.redis.xrange(key, "-", "+", None).await.unwrap();
        entries
            .into_iter()
            .map(|(_, fields)| {
                ticket_shared::stream::Entry::decode(fields["d"].as_bytes()).unwrap()
            })
            .collect()
    }
}

/// A message of a customer, under a client id where one is given.
pub(crate) fn message(ticket: Id, content: &str, client_id: Option<&str>) -> NewMessage {
    let id = client_id.map_or_else(
        || Id::fresh().unwrap(),
        |client_id| Id::of_message(ticket, "user:u1", client_id),
    );
    NewMessage {
        id,
        sender_id: "u1".into(),
        sender_type: ticket_shared::domain::UserType::User,
        sender_name: "سارة".into(),
        content: content.into(),
        internal: false,
        client_message_id: client_id.map(Into::into),
    }
}
