//! Consumers of gone workers leave the group, but never with anything pending.

use std::{collections::BTreeMap, time::Duration};

use fred::{
    interfaces::{LuaInterface, StreamsInterface},
    types::Value,
};
use ticket_shared::stream::GROUP;

use crate::{
    harness::{World, until},
    inspect::ids,
    sample::{Log, id},
};

impl World {
    /// The consumers of a partition, and how many entries each has pending.
    async fn consumers(&self, partition: u16) -> BTreeMap<String, i64> {
        let consumers: Vec<BTreeMap<String, Value>> = self
            .redis
            .xinfo_consumers(self.keys.events(partition), GROUP)
            .await
            .expect("XINFO CONSUMERS");
        let told = consumers.into_iter().map(|consumer| {
            let name = consumer["name"].as_string().expect("a name");
            (name, consumer["pending"].as_i64().expect("a count"))
        });
        told.collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_of_gone_workers_are_removed_once_they_have_nothing_pending() {
    let world = World::new().await;
    let mut log = Log::opened(id(1, 1));
    log.message("one", false);
    world.append(&log).await;
    let partition = world.keys.partition(log.ticket);
    let key = world.keys.events(partition);
    let _: Value = world
        .redis
        .xgroup_create(&key, GROUP, "0", false)
        .await
        .unwrap();
    // One left an entry unsettled, one did not.
    let mut read = Vec::new();
    for consumer in ["busy", "done"] {
        let handed: Value = world
            .redis
            .xreadgroup(GROUP, consumer, Some(1), None, false, &key, ">")
            .await
            .unwrap();
        read.push(ids(handed));
    }
    let _: i64 = world
        .redis
        .xack(&key, GROUP, read[1].clone())
        .await
        .unwrap();

    // As a worker does it, but after no silence at all.
    let script = include_str!("../../src/consumers.lua");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let removed: Vec<String> = world
        .redis
        .eval(script, vec![key], vec![GROUP, "w1", "1"])
        .await
        .unwrap();
    assert_eq!(removed, ["done"]);
    assert_eq!(world.consumers(partition).await["busy"], 1);

    // A live worker that has nothing to do is not gone, though the servers differ in what they note of it.
    let settings = &["--claim-idle-ms", "1000", "--consumer-gone-ms", "3000"];
    let idle = world.start("idle", settings).await;
    let running = world.start("w1", settings).await;
    until(
        "the entry is taken over and its consumer removed",
        async || {
            let left: Vec<String> = world.consumers(partition).await.into_keys().collect();
            left == ["idle", "w1"]
        },
    )
    .await;
    world.until_drained().await;
    assert_eq!(
        world.count("messages").await + world.count("events").await,
        1
    );
    let removed = async || {
        let mut removed = 0;
        for worker in [&running, &idle] {
            let (_, metrics) = worker.ask("/metrics").await;
            let name = "ticket_worker_consumers_removed_total ";
            let figure = metrics.lines().find_map(|line| line.strip_prefix(name));
            removed += figure.expect("a figure").parse::<u64>().expect("a number");
        }
        removed
    };
    assert_eq!(removed().await, 1);
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(removed().await, 1, "only the gone one is removed");
    assert_eq!(world.consumers(partition).await.len(), 2);
    world.finish([running, idle]).await;
}
