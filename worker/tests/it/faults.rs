//! Several workers, dying workers, absent servers.

use std::time::Duration;

use fred::{
    interfaces::{KeysInterface, StreamsInterface},
    types::Value,
};
use ticket_shared::stream::GROUP;

use crate::{
    harness::{World, until},
    inspect::ids,
    proxy::Proxy,
    sample::{Log, id},
};

/// Tickets with `messages` messages each.
fn logs(tickets: u32, messages: usize) -> Vec<Log> {
    (1..=tickets)
        .map(|number| {
            let mut log = Log::opened(id(number, 1));
            for n in 0..messages {
                log.message(&format!("message {n}"), n % 5 == 4);
            }
            log
        })
        .collect()
}

/// Adds all entries, those of different tickets mixed.
async fn append(world: &World, logs: &[Log]) {
    for log in logs {
        world.warm(log).await;
    }
    let longest = logs.iter().map(|log| log.entries.len()).max().unwrap_or(0);
    for place in 0..longest {
        let row: Vec<_> = logs
            .iter()
            .filter_map(|log| log.entries.get(place).cloned())
            .collect();
        world.add(&row).await;
    }
}

/// Everything is stored once, and Redis knows it.
async fn check(world: &World, logs: &[Log], messages: usize) {
    world.until_drained().await;
    assert_eq!(
        world.count("messages").await,
        (logs.len() * messages) as u64
    );
    assert_eq!(world.count("events").await, logs.len() as u64);
    assert_eq!(world.count("tickets").await, logs.len() as u64);
    for log in logs {
        let ticket = world.ticket(log.ticket).await.expect("it is stored");
        assert_eq!(ticket["seq"], log.seq().cast_signed().into());
        let watermark = world.state(log.ticket, "persisted").await;
        assert_eq!(watermark, Some(log.seq().to_string()));
    }
    assert_eq!(world.dirty().await, 0);
    for partition in 0..world.keys.partitions() {
        assert!(world.dead(partition).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_the_work() {
    let world = World::new().await;
    let logs = logs(40, 49);
    let settings = &["--batch", "50"];
    let running = [
        world.start("w1", settings).await,
        world.start("w2", settings).await,
    ];
    append(&world, &logs).await;
    check(&world, &logs, 49).await;
    world.finish(running).await;
}

#[tokio::test]
async fn what_a_dead_worker_read_is_taken_over() {
    let world = World::new().await;
    let logs = logs(4, 9);
    append(&world, &logs).await;
    for partition in 0..world.keys.partitions() {
        let key = world.keys.events(partition);
        let _: Value = world
            .redis
            .xgroup_create(&key, GROUP, "0", true)
            .await
            .unwrap();
        let _: Value = world
            .redis
            .xreadgroup(GROUP, "ghost", Some(7), None, false, &key, ">")
            .await
            .unwrap();
    }
    let running = world.start("w1", &["--claim-idle-ms", "200"]).await;
    check(&world, &logs, 9).await;
    world.finish([running]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_in_mid_batch_loses_nothing() {
    let world = World::new().await;
    let logs = logs(20, 49);
    append(&world, &logs).await;
    let first = world.start("w1", &["--batch", "20"]).await;
    until("it is at work", async || world.count("messages").await > 50).await;
    first.kill().await;
    // One comes back under the same name and finds what it had; another one takes over, too.
    let settings = &["--claim-idle-ms", "200"];
    let running = [
        world.start("w1", settings).await,
        world.start("w2", settings).await,
    ];
    check(&world, &logs, 49).await;
    world.finish(running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_with_a_batch_read_ahead_loses_nothing() {
    let world = World::new().await;
    let logs = logs(40, 49);
    append(&world, &logs).await;
    let mongo = Proxy::new(&world.mongo_uri).await;
    let mongo_uri = format!(
        "mongodb://{}/{}?directConnection=true&serverSelectionTimeoutMS=300",
        mongo.address,
        world.db.name()
    );
    let settings = &[
        "--batch=5",
        "--batch-max=10",
        "--mongo-uri",
        mongo_uri.as_str(),
    ];
    let first = world.start("w1", settings).await;
    // One batch waits for MongoDB, the next and larger one has been read, and no more than that.
    let in_hand = (5 + 10) * i64::from(world.keys.partitions());
    until("a batch is read ahead", async || {
        world.unsettled().await.0 >= in_hand
    })
    .await;
    until("the batch in hand is tried again", async || {
        let (_, metrics) = first.ask("/metrics").await;
        metrics.contains("ticket_worker_retries_total{step=\"store\"} 2")
    })
    .await;
    assert_eq!(world.unsettled().await.0, in_hand);
    first.kill().await;

    let running = world.start("w2", &["--claim-idle-ms", "200"]).await;
    check(&world, &logs, 49).await;
    world.finish([running]).await;
}

#[tokio::test]
async fn a_stop_finishes_the_batch_in_hand() {
    let world = World::new().await;
    let logs = logs(20, 49);
    append(&world, &logs).await;
    let running = world.start("w1", &["--batch", "25"]).await;
    until("it is at work", async || world.count("messages").await > 0).await;
    assert!(running.stop().await, "it stops by itself");
    assert_eq!(
        world.unsettled().await.0,
        0,
        "what was read is acknowledged"
    );

    let running = world.start("w2", &[]).await;
    check(&world, &logs, 49).await;
    world.finish([running]).await;
}

#[tokio::test]
async fn entries_deleted_before_they_were_persisted_are_counted() {
    let world = World::new().await;
    let log = logs(1, 3).remove(0);
    append(&world, std::slice::from_ref(&log)).await;
    let key = world.keys.events(world.keys.partition(log.ticket));
    let _: Value = world
        .redis
        .xgroup_create(&key, GROUP, "0", true)
        .await
        .unwrap();
    // One was read by the worker that is about to start, one by another that is gone.
    for consumer in ["w1", "ghost"] {
        let read: Value = world
            .redis
            .xreadgroup(GROUP, consumer, Some(1), None, false, &key, ">")
            .await
            .unwrap();
        let _: i64 = world.redis.xdel(&key, ids(read)).await.unwrap();
    }
    world.dirty_since(&log, 1.0).await;
    let running = world.start("w1", &["--claim-idle-ms", "200"]).await;
    world.until_drained().await;
    until("both are counted", async || {
        let (_, metrics) = running.ask("/metrics").await;
        metrics.contains("ticket_worker_entries_lost_total 2")
    })
    .await;
    assert_eq!(world.count("messages").await, 2);
    world.finish([running]).await;
}

#[tokio::test]
async fn groups_are_made_again_after_redis_lost_them() {
    let world = World::new().await;
    let running = world.start("w1", &[]).await;
    let early = logs(1, 3);
    append(&world, &early).await;
    check(&world, &early, 3).await;
    for partition in 0..world.keys.partitions() {
        let key = world.keys.events(partition);
        let _: Value = world.redis.del(&key).await.unwrap();
    }
    let mut late = Log::opened(id(9, 1));
    late.message("after", false);
    world.append(&late).await;
    until("the ticket is stored", async || world.dirty().await == 0).await;
    assert!(world.ticket(late.ticket).await.is_some());
    world.finish([running]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absent_servers_are_waited_for() {
    let world = World::new().await;
    let redis = Proxy::new(&world.redis_url).await;
    let mongo = Proxy::new(&world.mongo_uri).await;
    let redis_url = format!("redis://{}", redis.address);
    let mongo_uri = format!(
        "mongodb://{}/{}?directConnection=true&serverSelectionTimeoutMS=300",
        mongo.address,
        world.db.name()
    );
    let settings = &[
        "--redis-url",
        redis_url.as_str(),
        "--mongo-uri",
        mongo_uri.as_str(),
    ];
    let running = world.start("w1", settings).await;
    let first = logs(3, 5);
    append(&world, &first).await;
    let (code, body) = running.ask("/readyz").await;
    assert_eq!(code, 503);
    assert!(
        body.contains("\"redis\":\"down\"") && body.contains("\"mongo\":\"down\""),
        "{body}"
    );

    redis.set_open(true);
    until("Redis is found", async || world.unsettled().await.0 > 0).await;
    assert_eq!(world.count("messages").await, 0);
    mongo.set_open(true);
    check(&world, &first, 5).await;
    until("it is ready", async || {
        running.ask("/readyz").await.0 == 200
    })
    .await;

    // Both go away in the middle and come back.
    mongo.set_open(false);
    let mut second = Log::opened(id(50, 1));
    second.message("meanwhile", false);
    world.append(&second).await;
    until("it is read", async || world.unsettled().await.0 > 0).await;
    redis.set_open(false);
    tokio::time::sleep(Duration::from_millis(300)).await;
    mongo.set_open(true);
    until("it is stored", async || {
        world.ticket(second.ticket).await.is_some()
    })
    .await;
    assert_eq!(world.dirty().await, 1, "Redis can't know yet");
    redis.set_open(true);
    until("Redis knows", async || world.dirty().await == 0).await;
    world.finish([running]).await;
}
