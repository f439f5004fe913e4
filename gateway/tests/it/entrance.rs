//! What is found out of a server before anything connects to it: its topology, the layout of its data, rights.

use std::time::Duration;

use clap::Parser;
use fred::{
    clients::Client,
    interfaces::ClientLike,
    types::{CustomCommand, Value},
};
use socketioxide_redis::drivers::Driver;
use ticket_gateway::{
    access::Grant,
    adapter::{DriverMetrics, FredDriver},
    config::Config,
};
use ticket_shared::{
    config::{Common, Secret},
    lifecycle::Lifecycle,
    redis::{self, Entrance, Program, Unfit, discover, examine},
};
use ticket_testing::{Detour, Resp};

use crate::{
    server::{Server, unique},
    trouble::stored,
    world::{in_world_on, message},
};

/// The line of the documentation, for both programs.
const RIGHTS: &str = "+@read +@write +@pubsub +@scripting +@connection -@dangerous +info +time";

fn settings(url: &str, partitions: &str, prefix: &str) -> Common {
    let args = ["ticket-gateway", "--auth-mode=none", "--redis-url", url];
    let more = ["--partitions", partitions, "--key-prefix", prefix];
    Config::try_parse_from(args.into_iter().chain(more))
        .unwrap()
        .common
}

async fn ask(client: &Client, name: &'static str, arguments: &[&str]) -> Value {
    let command = CustomCommand::new_static(name, None, false);
    client.custom(command, arguments.to_vec()).await.unwrap()
}

async fn client(server: &Server) -> Client {
    let client = redis::client(&server.url()).unwrap();
    client.init().await.unwrap();
    client
}

/// Starts a server in cluster mode that has all slots to itself.
async fn in_cluster_mode(server: &mut Server) -> Client {
    server.start_with(&["--cluster-enabled", "yes"]);
    let direct = client(server).await;
    ask(&direct, "CLUSTER", &["ADDSLOTSRANGE", "0", "16383"]).await;
    until("it serves all slots", async || {
        let info = ask(&direct, "CLUSTER", &["INFO"]).await;
        let info = info.as_string().unwrap_or_default();
        info.contains("cluster_state:ok")
    })
    .await;
    direct
}

async fn until(what: &str, met: impl AsyncFn() -> bool) {
    let waiting = async {
        while !met().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_mins(1), waiting).await;
    assert!(waited.is_ok(), "it did not come true that {what}");
}

fn setting(error: Unfit) -> (&'static str, String) {
    match error {
        Unfit::Setting(bad) => (bad.setting, bad.problem),
        Unfit::Redis(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn another_number_of_partitions_is_refused_with_the_one_that_holds() {
    let mut server = Server::absent();
    server.start();
    let url = format!("redis://127.0.0.1:{}", server.port());
    drop(client(&server).await);
    let with = async |partitions| {
        let settings = settings(&url, partitions, "layout");
        examine(&settings, Program::Gateway).await
    };
    // Looking changes nothing; a start does.
    assert!(with("8").await.is_ok());
    let life = Lifecycle::default();
    let first = settings(&url, "16", "layout");
    Entrance::find(&first, Program::Gateway, &life)
        .await
        .unwrap();
    assert_eq!(with("16").await.unwrap().keys.partitions(), 16);
    let (setting, problem) = setting(with("8").await.unwrap_err());
    assert_eq!(setting, "PARTITIONS");
    assert!(problem.contains("set 16"), "{problem}");
    assert!(problem.contains("To change it"), "{problem}");
    assert!(with("16").await.is_ok());
}

#[tokio::test]
async fn a_proxy_that_splits_slots_is_found_out_although_it_speaks_as_one_server() {
    let proxy = Resp::of(&std::env::var("REDIS_URL").unwrap())
        .await
        .unwrap();
    let url = proxy.url();
    let settings = settings(url.expose(), "4", &unique("split"));
    let apart = async || {
        let examined = examine(&settings, Program::Worker).await.unwrap();
        examined.keys.apart()
    };
    assert!(!apart().await);
    proxy.inject(
        "XREAD",
        "CROSSSLOT Keys in request don't hash to the same slot",
    );
    assert!(apart().await);
    // One that refuses the question for another reason is taken as it speaks.
    proxy.clear();
    proxy.inject("XREAD", "ERR max daily request limit exceeded");
    assert!(!apart().await);
}

#[tokio::test]
async fn one_shard_in_cluster_mode_works_under_either_scheme() {
    let mut server = Server::absent();
    let direct = in_cluster_mode(&mut server).await;
    for scheme in ["redis", "redis-cluster"] {
        let url = Secret::new(format!("{scheme}://127.0.0.1:{}", server.port()));
        let found = discover(&url).await.unwrap();
        assert!(found.by_slots);
        // It names no host of its own.
        assert_eq!(found.url, server.url());
    }
    let with_database = Secret::new(format!("redis://127.0.0.1:{}/2", server.port()));
    let (setting, problem) = setting(discover(&with_database).await.unwrap_err());
    assert_eq!(setting, "REDIS_URL");
    assert!(problem.contains("database 0"), "{problem}");

    // Once it knows its name, as those of a managed service do, its clients follow it.
    let host = ["SET", "cluster-announce-ip", "127.0.0.1"];
    ask(&direct, "CONFIG", &host).await;
    let found = discover(&server.url()).await.unwrap();
    assert!(found.by_slots);
    assert!(found.url.expose().starts_with("redis-cluster://"));
}

#[tokio::test]
async fn appends_to_many_tickets_work_on_one_shard_in_cluster_mode() {
    let mut server = Server::absent();
    drop(in_cluster_mode(&mut server).await);
    in_world_on(&server.url(), |world| async move {
        let mut tickets = Vec::new();
        for _ in 0..12 {
            tickets.push(stored(&world).await);
        }
        // All of them wait at once, so that they go in groups.
        let sends = tickets.iter().map(|&id| {
            let message = message(id, "m", None);
            let world = &world;
            async move { world.tickets.send(id, message, &Grant::TEAM).await }
        });
        for sent in futures::future::join_all(sends).await {
            sent.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_cluster_url_to_a_server_that_is_none_says_what_to_write() {
    let mut server = Server::absent();
    server.start();
    drop(client(&server).await);
    let url = Secret::new(format!("redis-cluster://127.0.0.1:{}", server.port()));
    let (setting, problem) = setting(discover(&url).await.unwrap_err());
    assert_eq!(setting, "REDIS_URL");
    assert!(problem.contains("write redis://"), "{problem}");
}

#[tokio::test]
async fn rights_that_are_missing_are_named_and_the_documented_ones_suffice() {
    let mut server = Server::absent();
    server.start();
    let direct = client(&server).await;
    let user = async |name: &str, rights: &str| {
        let mut rule = vec!["SETUSER", name, "on", ">pw", "~own:*", "&own:*"];
        rule.extend(rights.split(' '));
        ask(&direct, "ACL", &rule).await;
        format!("redis://{name}:pw@127.0.0.1:{}", server.port())
    };
    let documented = user("documented", RIGHTS).await;
    let blind = user("blind", "+@all -@dangerous").await;
    let silent = user("silent", "+@all -@dangerous -@pubsub -xadd +info").await;
    for program in [Program::Gateway, Program::Worker] {
        let refused = async |url: &str| {
            let settings = settings(url, "16", "own");
            examine(&settings, program).await.unwrap().refused
        };
        assert_eq!(refused(&documented).await, Vec::<String>::new());
        let blind = refused(&blind).await;
        assert_eq!(blind.len(), 1, "{blind:?}");
        assert!(blind[0].starts_with("INFO"), "{blind:?}");
        let silent = refused(&silent).await;
        assert!(
            silent.iter().any(|said| said.starts_with("XADD")),
            "{silent:?}"
        );
        let heard = silent.iter().any(|said| said.starts_with("SSUBSCRIBE"));
        assert_eq!(heard, program == Program::Gateway, "{silent:?}");
    }
    let foreign = settings(&documented, "16", "other");
    let refused = examine(&foreign, Program::Gateway).await.unwrap().refused;
    assert!(refused[0].contains("NOPERM"), "{refused:?}");
}

#[tokio::test]
async fn databases_of_one_server_do_not_hear_each_other() {
    let mut server = Server::absent();
    server.start();
    drop(client(&server).await);
    let life = Lifecycle::default();
    let start = async |database: &str| {
        let url = format!("redis://127.0.0.1:{}{database}", server.port());
        let common = settings(&url, "4", "same");
        let entrance = Entrance::find(&common, Program::Gateway, &life)
            .await
            .unwrap();
        let driver = FredDriver::start(&entrance, &life, DriverMetrics::default()).await;
        (entrance.keys().adapter(), driver.unwrap())
    };
    let (first, one) = start("").await;
    let (same, two) = start("/0").await;
    let (other, three) = start("/1").await;
    assert_eq!(first, same);
    assert_ne!(first, other);
    let mut streams = Vec::new();
    for (channel, driver) in [(&first, &one), (&same, &two), (&other, &three)] {
        let Ok(stream) = driver.subscribe(channel.clone(), 8).await;
        streams.push(stream);
    }
    until("all are subscribed", async || {
        one.subscribed() && two.subscribed() && three.subscribed()
    })
    .await;
    assert_eq!(one.num_serv(&first).await, Ok(2));
    assert_eq!(three.num_serv(&other).await, Ok(1));
    life.stop();
}

#[tokio::test]
async fn a_server_that_was_away_is_examined_before_anything_connects() {
    let mut server = Server::absent();
    let url = format!("redis://127.0.0.1:{}", server.port());
    let (life, prefix) = (Lifecycle::default(), unique("late"));
    let common = settings(&url, "8", &prefix);
    let entrance = Entrance::find(&common, Program::Gateway, &life)
        .await
        .unwrap();
    let late = redis::client(entrance.url()).unwrap();
    entrance.connect(&late, &life);
    server.start();
    until("it is connected", async || late.is_connected()).await;
    let layout = ["partitions"].map(|field| (entrance.keys().layout(), field));
    let [(key, field)] = layout;
    assert_eq!(
        ask(&late, "HGET", &[&key, field])
            .await
            .as_string()
            .as_deref(),
        Some("8")
    );

    // Another process, whose number does not fit, and which finds the server later: it never connects, and ends.
    let way = Detour::to(1).await.unwrap();
    let other = Lifecycle::default();
    let common = settings(way.url().expose(), "4", &prefix);
    let closed = Entrance::find(&common, Program::Gateway, &other)
        .await
        .unwrap();
    let never = redis::client(closed.url()).unwrap();
    closed.connect(&never, &other);
    way.lead_to(server.port());
    let ended = tokio::time::timeout(Duration::from_mins(1), other.until_stopped()).await;
    assert!(ended.expect("it ends").is_err());
    assert!(!never.is_connected());
    life.stop();
}
