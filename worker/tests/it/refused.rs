//! A worker that can't do its work says so, and goes on once it can.

use mongodb::bson::doc;
use ticket_testing::OpMsg;

use crate::{
    harness::{World, until},
    sample::{Log, id},
};

/// What MongoDB and its providers refuse writes with, and the word that an operator must find.
const REFUSALS: [(i32, &str, &str); 4] = [
    (13, "Unauthorized", "Unauthorized"),
    (8000, "AtlasError", "AtlasError"),
    (14_031, "OutOfDiskSpace", "OutOfDiskSpace"),
    (166, "CommandNotSupportedOnView", "view"),
];

pub(crate) async fn behind_proxy() -> (World, OpMsg, String) {
    let world = World::new().await;
    let proxy = OpMsg::of(&world.mongo_uri).await.expect("a port");
    let database = world.db.name();
    // A server that belongs to a set would name its own address, and the driver would go there.
    let uri = format!(
        "mongodb://{}/{database}?directConnection=true",
        proxy.address()
    );
    (world, proxy, uri)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_mongodb_refuses_make_the_worker_unready_by_name() {
    let (world, proxy, uri) = behind_proxy().await;
    let running = world.start("w1", &["--mongo-uri", &uri]).await;
    until("it is ready", async || {
        running.ask("/readyz").await.0 == 200
    })
    .await;
    for (number, (code, name, word)) in (1..).zip(REFUSALS) {
        proxy.refuse(&["insert", "update"], code, name);
        let mut log = Log::opened(id(number, 1));
        log.message("kept", false);
        world.append(&log).await;
        until("it is not ready", async || {
            running.ask("/readyz").await.0 == 503
        })
        .await;
        let (_, body) = running.ask("/readyz").await;
        assert!(body.contains(word), "{word} is not in {body}");
        assert!(body.contains(", writing "), "{body}");
        let (_, metrics) = running.ask("/metrics").await;
        let line = "ticket_worker_refused{part=\"mongo\"} 1";
        assert!(metrics.contains(line), "{metrics}");
        proxy.clear();
        world.until_drained().await;
        until("it is ready again", async || {
            running.ask("/readyz").await.0 == 200
        })
        .await;
        assert!(world.ticket(log.ticket).await.is_some(), "stored by now");
    }
    world.finish([running]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_are_not_confirmed_make_it_unready_too() {
    let (world, proxy, uri) = behind_proxy().await;
    let running = world.start("w1", &["--mongo-uri", &uri]).await;
    until("it is ready", async || {
        running.ask("/readyz").await.0 == 200
    })
    .await;
    let unconfirmed = doc! { "ok": 1.0, "n": 1, "writeConcernError": {
        "code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out",
    } };
    proxy.inject("update", unconfirmed);
    let log = Log::opened(id(1, 1));
    world.append(&log).await;
    until("it is not ready", async || {
        running.ask("/readyz").await.0 == 503
    })
    .await;
    assert!(running.ask("/readyz").await.1.contains("WriteConcern"));
    proxy.clear();
    world.until_drained().await;
    until("it is ready again", async || {
        running.ask("/readyz").await.0 == 200
    })
    .await;
    world.finish([running]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_the_right_to_write_is_known_before_anything_is_written() {
    let (world, proxy, uri) = behind_proxy().await;
    let reader = doc! { "ok": 1.0, "authInfo": {
        "authenticatedUsers": [{ "user": "reader", "db": "admin" }],
        "authenticatedUserPrivileges": [{ "resource": { "db": "", "collection": "" }, "actions": ["find"] }],
    } };
    proxy.inject("connectionStatus", reader);
    let running = world.start("w1", &["--mongo-uri", &uri]).await;
    until("it says so", async || {
        let (code, body) = running.ask("/readyz").await;
        code == 503 && body.contains("insert") && body.contains("not granted")
    })
    .await;
    proxy.clear();
    until("it is ready", async || {
        running.ask("/readyz").await.0 == 200
    })
    .await;
    world.finish([running]).await;
}
