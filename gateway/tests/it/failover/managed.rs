//! Failovers that something else performs: Sentinel, and a cluster of one shard.

use fred::{clients::Client, interfaces::ClientLike, types::Value};
use ticket_gateway::access::Grant;
use ticket_shared::config::Secret;

use super::{Pair, ask, linked, until};
use crate::{
    server::Server,
    trouble::stored,
    world::{World, in_world_on, message},
};

/// Sends until it succeeds, and sees that it was taken once.
async fn goes_on(world: &World, ticket: ticket_shared::id::Id) {
    let send = async || {
        let message = message(ticket, "after", Some("after"));
        world.tickets.send(ticket, message, &Grant::TEAM).await
    };
    until("sends are taken again", async || send().await.is_ok()).await;
    assert!(send().await.unwrap().1, "once");
}

/// A Sentinel that watches over `port` alone, and fails over soon.
fn sentinel(port: u16) -> Server {
    let mut sentinel = Server::absent();
    sentinel.start_sentinel(&format!(
        "sentinel monitor mymaster 127.0.0.1 {port} 1\n\
         sentinel down-after-milliseconds mymaster 1000\n\
         sentinel failover-timeout mymaster 5000\n"
    ));
    sentinel
}

#[tokio::test]
async fn sends_go_on_after_a_failover_by_sentinel() {
    let mut pair = Pair::start().await;
    until("the replica follows", async || linked(&pair.second.1).await).await;
    let sentinel = sentinel(pair.first.0.port());
    let url = format!(
        "redis-sentinel://127.0.0.1:{}/0?sentinelServiceName=mymaster",
        sentinel.port()
    );
    in_world_on(&Secret::new(url), |world| {
        let (pair, sentinel) = (&mut pair, &sentinel);
        async move {
            let id = stored(&world).await;
            let first = message(id, "before", None);
            world.tickets.send(id, first, &Grant::TEAM).await.unwrap();
            // Before it knows a replica it has none to promote.
            let watcher = ticket_shared::redis::client(&sentinel.url()).unwrap();
            watcher.init().await.unwrap();
            until("Sentinel knows the replica", async || {
                let replicas = ask(&watcher, "SENTINEL", &["REPLICAS", "mymaster"]).await;
                matches!(replicas, Value::Array(known) if !known.is_empty())
            })
            .await;
            pair.first.0.kill();
            goes_on(&world, id).await;
            let role = ask(&pair.second.1, "ROLE", &[]).await;
            assert!(format!("{role:?}").contains("master"), "{role:?}");
        }
    })
    .await;
}

async fn node() -> (Server, Client) {
    let mut server = Server::absent();
    server.start_with(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
    let client = ticket_shared::redis::client(&server.url()).unwrap();
    client.init().await.unwrap();
    (server, client)
}

#[tokio::test]
async fn sends_go_on_after_a_failover_of_one_shard_in_cluster_mode() {
    let (first, second) = (node().await, node().await);
    ask(&first.1, "CLUSTER", &["ADDSLOTSRANGE", "0", "16383"]).await;
    let port = first.0.port().to_string();
    ask(&second.1, "CLUSTER", &["MEET", "127.0.0.1", &port]).await;
    let id = ask(&first.1, "CLUSTER", &["MYID"])
        .await
        .as_string()
        .unwrap();
    until("they know each other", async || {
        let nodes = ask(&second.1, "CLUSTER", &["NODES"]).await;
        nodes.as_string().unwrap_or_default().contains(&id)
    })
    .await;
    let command = fred::types::CustomCommand::new_static("CLUSTER", None, false);
    until("it is a replica", async || {
        let replicate = vec!["REPLICATE".to_owned(), id.clone()];
        let done: Result<Value, _> = second.1.custom(command.clone(), replicate).await;
        done.is_ok()
    })
    .await;
    until("it follows", async || linked(&second.1).await).await;
    // A plain URL, as a managed service gives it.
    in_world_on(&first.0.url(), |world| {
        let second = &second;
        async move {
            let id = stored(&world).await;
            let before = message(id, "before", None);
            world.tickets.send(id, before, &Grant::TEAM).await.unwrap();
            // The former primary stays, as a replica.
            until("it takes over", async || {
                let command = fred::types::CustomCommand::new_static("CLUSTER", None, false);
                let failover = vec!["FAILOVER", "TAKEOVER"];
                let done: Result<Value, _> = second.1.custom(command, failover).await;
                done.is_ok()
            })
            .await;
            goes_on(&world, id).await;
        }
    })
    .await;
}
