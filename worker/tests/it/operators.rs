//! What operators see: probes, metrics, exit codes, indexes.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use futures::TryStreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    harness::{Running, World, until},
    sample::{Log, id},
};

impl Running {
    /// Asks the operators' endpoints; gives the status code and the body.
    pub(crate) async fn ask(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.worker.ops)
            .await
            .expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("request");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.expect("reply");
        let code = reply.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = reply
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned());
        (code.expect("a status code"), body.expect("a body"))
    }
}

#[tokio::test]
async fn probes_and_metrics_tell_what_happens() {
    let world = World::new().await;
    let mut log = Log::opened(id(1, 1));
    log.message("canary-words", false);
    world.append(&log).await;
    world.add_raw(0, "d", b"{").await;
    let running = world.start("w1", &[]).await;
    assert_eq!(running.ask("/livez").await.0, 200);
    until("it is ready", async || {
        running.ask("/readyz").await.0 == 200
    })
    .await;
    world.until_drained().await;
    until("the streams were sampled", async || {
        running
            .ask("/metrics")
            .await
            .1
            .contains("ticket_worker_stream_length{partition=\"3\"} 0")
    })
    .await;
    let (_, metrics) = running.ask("/metrics").await;
    for line in [
        "ticket_worker_entries_persisted_total{kind=\"created\"} 1",
        "ticket_worker_entries_persisted_total{kind=\"message\"} 1",
        "ticket_worker_entries_parked_total{reason=\"malformed\"} 1",
        "ticket_worker_entries_lost_total 0",
        "ticket_worker_stream_pending{partition=\"0\"} 0",
        "ticket_worker_mongo_up 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    assert!(!metrics.contains("canary"));
    world.finish([running]).await;
}

#[tokio::test]
async fn indexes_are_there_after_the_start_and_a_second_start_is_no_problem() {
    let world = World::new().await;
    // The operator's own index on the same fields.
    let own = mongodb::bson::doc! {
        "createIndexes": "messages",
        "indexes": [{ "key": { "ticketId": 1, "seq": 1 }, "name": "own" }],
    };
    world.db.run_command(own).await.unwrap();
    for consumer in ["w1", "w2"] {
        let running = world.start(consumer, &[]).await;
        let reads = world.db.collection::<mongodb::bson::Document>("reads");
        until("the last index is there", async || {
            match reads.list_indexes().await {
                Ok(indexes) => indexes
                    .try_collect::<Vec<_>>()
                    .await
                    .is_ok_and(|all| all.len() == 2),
                Err(_) => false,
            }
        })
        .await;
        assert!(running.stop().await);
    }
    let tickets = world.db.collection::<mongodb::bson::Document>("tickets");
    let names = tickets.list_index_names().await.unwrap();
    for name in [
        "by_status",
        "by_agent",
        "by_user",
        "by_creation",
        "by_update",
    ] {
        assert!(
            names.iter().any(|there| there == name),
            "{name} is not in {names:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_ends_with_the_right_code() {
    let worker = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ticket-worker"));
        command.env_clear();
        command
    };
    let checked = worker()
        .arg("check-config")
        .env("MONGO_URI", "mongodb://root:hunter2@db/tickets")
        .output()
        .unwrap();
    let shown = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success());
    assert!(
        shown.contains("MONGO_URI=mongodb://[hidden]@db/tickets"),
        "{shown}"
    );
    assert!(shown.contains("OPS_PORT=9101"), "{shown}");

    let wrong = worker().env("BATCH", "0").output().unwrap();
    assert_eq!(wrong.status.code(), Some(78));
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(
        said.contains("BATCH") && said.lines().count() == 1,
        "{said}"
    );

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let busy = worker()
        .args(["--host", "127.0.0.1", "--ops-port", &port, "--log", "error"])
        .output()
        .unwrap();
    assert_eq!(busy.status.code(), Some(1));
    let said = String::from_utf8(busy.stderr).unwrap();
    assert!(
        said.contains("OPS_PORT") && said.lines().count() == 1,
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_of_partitions_that_does_not_fit_the_data_stops_the_start() {
    let world = World::new().await;
    let first = world.start("w1", &[]).await;
    let start = || {
        Command::new(env!("CARGO_BIN_EXE_ticket-worker"))
            .env_clear()
            .args(["--host=127.0.0.1", "--ops-port=0", "--partitions=7"])
            .args(["--key-prefix", world.keys.prefix(), "--log=error"])
            .args([
                "--redis-url",
                &world.redis_url,
                "--mongo-uri",
                &world.mongo_uri,
            ])
            .output()
            .unwrap()
    };
    let wrong = start();
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(wrong.status.code(), Some(78), "{said}");
    assert!(
        said.contains("PARTITIONS") && said.contains("set 4"),
        "{said}"
    );
    world.finish([first]).await;
}

#[tokio::test]
async fn a_signal_ends_the_process_with_success() {
    let world = World::new().await;
    let mut log = Log::opened(id(1, 1));
    log.message("hello", false);
    let mut process = tokio::process::Command::new(env!("CARGO_BIN_EXE_ticket-worker"))
        .env_clear()
        .env("KEY_PREFIX", world.keys.prefix())
        .env("PARTITIONS", world.keys.partitions().to_string())
        .env("REDIS_URL", &world.redis_url)
        .env("MONGO_URI", &world.mongo_uri)
        .env("OPS_PORT", "0")
        .env("LOG", "warn")
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    world.append(&log).await;
    world.until_drained().await;
    let asked = Instant::now();
    let pid = process.id().unwrap().to_string();
    let told = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(told.unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(10), process.wait()).await;
    assert_eq!(ended.unwrap().unwrap().code(), Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(world.count("messages").await, 1);
    world.finish([]).await;
}
