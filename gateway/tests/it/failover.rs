//! A failover behind a name: the former primary stays reachable, and keeps every connection that it has.

use std::time::Duration;

use fred::{
    clients::Client,
    interfaces::ClientLike,
    types::{CustomCommand, Value},
};
use futures::StreamExt;
use socketioxide_redis::drivers::Driver;
use ticket_gateway::{
    access::Grant,
    adapter::{DriverMetrics, FredDriver},
};
use ticket_shared::{
    lifecycle::Lifecycle,
    redis::{self, Entrance},
    stream::Keys,
};
use ticket_testing::Detour;

use crate::{
    server::{Server, unique},
    trouble::stored,
    world::{in_world_on, message},
};

mod managed;

const DEADLINE: Duration = Duration::from_mins(1);

/// Two servers, the second a replica of the first, and a client of each.
struct Pair {
    first: (Server, Client),
    second: (Server, Client),
}

impl Pair {
    async fn start() -> Self {
        let (first, second) = (running().await, running().await);
        follow(&second.1, first.0.port()).await;
        Self { first, second }
    }

    /// The second takes over; the first becomes the replica of `of`, or of nothing that answers.
    async fn fail_over(&self, of: u16) {
        ask(&self.second.1, "REPLICAOF", &["NO", "ONE"]).await;
        follow(&self.first.1, of).await;
    }
}

async fn running() -> (Server, Client) {
    let mut server = Server::absent();
    server.start();
    let client = redis::client(&server.url()).unwrap();
    client.init().await.unwrap();
    (server, client)
}

async fn follow(client: &Client, port: u16) {
    ask(client, "REPLICAOF", &["127.0.0.1", &port.to_string()]).await;
}

async fn ask(client: &Client, name: &'static str, arguments: &[&str]) -> Value {
    let command = CustomCommand::new_static(name, None, false);
    client.custom(command, arguments.to_vec()).await.unwrap()
}

async fn until(what: &str, met: impl AsyncFn() -> bool) {
    let waiting = async {
        while !met().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, waiting).await;
    assert!(waited.is_ok(), "it did not come true that {what}");
}

async fn linked(replica: &Client) -> bool {
    let role = ask(replica, "ROLE", &[]).await;
    let Value::Array(role) = role else {
        return false;
    };
    role.get(3).and_then(Value::as_string).as_deref() == Some("connected")
}

#[tokio::test]
async fn sends_reach_the_new_primary_although_the_former_one_stays() {
    let pair = Pair::start().await;
    let way = Detour::to(pair.first.0.port()).await.unwrap();
    in_world_on(&way.url(), |world| {
        let (pair, way) = (&pair, &way);
        async move {
            let id = stored(&world).await;
            let send = async |text: &str| {
                let message = message(id, text, Some(text));
                world.tickets.send(id, message, &Grant::TEAM).await
            };
            send("before").await.unwrap();
            until("the replica follows", async || linked(&pair.second.1).await).await;
            pair.fail_over(pair.second.0.port()).await;
            way.lead_to(pair.second.0.port());
            until("sends are taken again", async || {
                send("after").await.is_ok()
            })
            .await;
            let (after, repeated) = send("after").await.unwrap();
            assert!(repeated, "once");
            assert_eq!(after.content, "after");
            let keys = Value::Integer(0);
            assert_ne!(ask(&pair.second.1, "DBSIZE", &[]).await, keys);
        }
    })
    .await;
}

#[tokio::test]
async fn subscriptions_move_to_the_new_primary_too() {
    let pair = Pair::start().await;
    let way = Detour::to(pair.first.0.port()).await.unwrap();
    let (life, channel) = (Lifecycle::default(), unique("moved"));
    let start = async || {
        let entrance = Entrance::open(&way.url(), Keys::new("test", 1));
        let started = FredDriver::start(&entrance, &life, DriverMetrics::default());
        started.await.unwrap()
    };
    let one = start().await;
    let Ok(mut stream) = one.subscribe(channel.clone(), 8_192).await;
    until("it is subscribed", async || one.subscribed()).await;
    // Nothing comes from the new primary over the former one.
    pair.fail_over(1).await;
    way.lead_to(pair.second.0.port());
    let two = start().await;
    let heard = async {
        loop {
            let Ok(()) = two.publish(channel.clone(), b"here".to_vec()).await;
            let item = tokio::time::timeout(Duration::from_millis(100), stream.next()).await;
            if matches!(item, Ok(Some(_))) {
                return;
            }
        }
    };
    let heard = tokio::time::timeout(DEADLINE, heard).await;
    assert!(heard.is_ok(), "events of the new primary are heard");
    life.stop();
}
