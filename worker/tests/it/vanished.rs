//! Entries that vanish from a stream before they were persisted: persisted from their tickets' logs, or counted as lost.

use std::collections::HashMap;

use fred::{
    interfaces::{HashesInterface, KeysInterface, SortedSetsInterface, StreamsInterface},
    types::Value,
};
use ticket_shared::stream::{Entry, GROUP};

use crate::{
    harness::{Running, World, until},
    inspect::oid,
    sample::{Log, id},
};

impl World {
    /// The hot state of a ticket and its live log, as the append script leaves them; its entries are in no stream.
    async fn log_of(&self, log: &Log) {
        let (ticket, keys) = (log.ticket, &self.keys);
        let base = log.entries[0].base.clone().expect("a creation has it");
        let at = log.entries.last().expect("an entry").at;
        let state = HashMap::from([
            ("seq", log.seq().to_string()),
            ("persisted", "0".into()),
            ("updatedAt", at.to_string()),
            ("base", serde_json::to_string(&base).expect("JSON")),
        ]);
        let _: () = self
            .redis
            .hset(keys.state(ticket), state)
            .await
            .expect("HSET");
        for entry in &log.entries {
            self.keep(entry).await;
        }
        self.dirty_since(log, 1.0).await;
    }

    async fn keep(&self, entry: &Entry) {
        let fields = vec![
            ("k", "m".to_owned()),
            ("d", serde_json::to_string(entry).expect("JSON")),
        ];
        let key = self.keys.log(entry.ticket_id);
        let place = format!("{}-0", entry.seq);
        let added = self.redis.xadd(key, false, None, place, fields).await;
        let _: Value = added.expect("XADD");
    }

    pub(crate) async fn dirty_since(&self, log: &Log, since: f64) {
        let dirty = self.keys.dirty(self.keys.partition(log.ticket));
        let member = (since, log.ticket.to_string());
        let set = self
            .redis
            .zadd(dirty, None, None, false, false, member)
            .await;
        let _: () = set.expect("ZADD");
    }

    async fn exists(&self, key: String) -> bool {
        self.redis.exists::<i64, _>(key).await.expect("EXISTS") == 1
    }
}

impl Running {
    pub(crate) async fn figure(&self, name: &str) -> u64 {
        let (_, metrics) = self.ask("/metrics").await;
        let line = format!("ticket_worker_{name} ");
        let figure = metrics.lines().find_map(|text| text.strip_prefix(&*line));
        figure.expect("a figure").parse().expect("a number")
    }
}

fn conversation(number: u32) -> Log {
    let mut log = Log::opened(id(number, 1));
    for n in 0..5 {
        log.message(&format!("message {n}"), n == 3);
    }
    log
}

/// Everything of it is in MongoDB, and Redis knows.
async fn check(world: &World, log: &Log) {
    until("the ticket is clean", async || world.dirty().await == 0).await;
    let ticket = world.ticket(log.ticket).await.expect("it is stored");
    assert_eq!(ticket["seq"], log.seq().cast_signed().into());
    assert_eq!(ticket["userId"], "u1".into());
    assert!(ticket.contains_key("createdAt"));
    assert_eq!(world.count("messages").await, 5);
    assert_eq!(world.count("events").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_vanished_unread_are_persisted_from_their_log_once() {
    let world = World::new().await;
    let log = conversation(1);
    world.log_of(&log).await;
    // Several look after it at once.
    let running = [world.start("w1", &[]).await, world.start("w2", &[]).await];
    check(&world, &log).await;
    world.until_drained().await;
    let mut restored = 0;
    for worker in &running {
        restored += worker.figure("entries_restored_total").await;
        assert_eq!(worker.figure("entries_lost_total").await, 0);
    }
    assert_eq!(restored, 6);
    world.finish(running).await;
}

#[tokio::test]
async fn entries_that_may_still_come_are_waited_for() {
    let mut log = conversation(1);
    for entry in &mut log.entries {
        // Not before they came into the stream.
        entry.at = 4_000_000_000_000;
    }
    waited_for(log).await;
}

#[tokio::test]
async fn so_are_those_whose_script_began_long_before_they_got_their_id() {
    waited_for(conversation(1)).await;
}

async fn waited_for(log: Log) {
    let world = World::new().await;
    world.log_of(&log).await;
    let key = world.keys.events(world.keys.partition(log.ticket));
    world.add(&log.entries).await;
    // All of them are in the hand of one that is slow, but the last ones, which it has not read.
    let group = world.redis.xgroup_create(&key, GROUP, "0", false).await;
    let _: Value = group.expect("XGROUP CREATE");
    let read = world
        .redis
        .xreadgroup(GROUP, "slow", Some(4), None, false, &key, ">");
    let _: Value = read.await.expect("XREADGROUP");
    let running = world.start("w1", &["--claim-idle-ms", "6000"]).await;
    check(&world, &log).await;
    world.until_drained().await;
    assert_eq!(running.figure("entries_restored_total").await, 0);
    assert_eq!(running.figure("entries_lost_total").await, 0);
    world.finish([running]).await;
}

#[tokio::test]
async fn what_neither_the_log_nor_mongodb_has_is_counted_and_not_waited_for() {
    let world = World::new().await;
    let log = conversation(1);
    world.log_of(&log).await;
    let gone = world
        .redis
        .xdel(world.keys.log(log.ticket), vec!["2-0", "3-0", "6-0"]);
    let _: i64 = gone.await.unwrap();
    // One of them was persisted before anybody took note of that.
    let stored = mongodb::bson::doc! { "ticketId": oid(log.ticket), "seq": 3_i64, "logVersion": 1 };
    let messages = world.db.collection("messages");
    messages.insert_one(stored).await.unwrap();
    let running = world.start("w1", &[]).await;
    until("the ticket is clean", async || world.dirty().await == 0).await;
    assert_eq!(running.figure("entries_lost_total").await, 2);
    assert_eq!(running.figure("entries_restored_total").await, 3);
    assert_eq!(world.state(log.ticket, "persisted").await.unwrap(), "6");
    assert_eq!(world.count("messages").await, 3);
    world.finish([running]).await;
}

#[tokio::test]
async fn a_log_without_its_state_is_persisted_and_then_gone() {
    let world = World::new().await;
    let log = conversation(1);
    world.log_of(&log).await;
    let state = world.keys.state(log.ticket);
    let _: i64 = world.redis.del(state).await.unwrap();
    let running = world.start("w1", &[]).await;
    check(&world, &log).await;
    assert!(!world.exists(world.keys.log(log.ticket)).await);
    assert_eq!(running.figure("entries_lost_total").await, 0);
    world.finish([running]).await;
}

#[tokio::test]
async fn what_was_sent_and_is_nowhere_is_counted() {
    let world = World::new().await;
    let log = conversation(1);
    world.log_of(&log).await;
    for entry in &log.entries[1..] {
        let message = entry.message().unwrap();
        let field = &message.id.bytes()[..];
        let (idem, seq) = (world.keys.idem(log.ticket), entry.seq.to_string());
        let set = world.redis.hset(idem, (field, seq.as_str()));
        let _: i64 = set.await.unwrap();
    }
    let keys = [world.keys.state(log.ticket), world.keys.log(log.ticket)];
    let _: i64 = world.redis.del(keys.to_vec()).await.unwrap();
    // The last message is parked: an operator has it.
    let frame = serde_json::to_string(&log.entries[5]).unwrap();
    let fields = vec![
        ("reason", "x"),
        ("tries", "5"),
        ("id", "1-0"),
        ("at", "1"),
        ("d", &*frame),
    ];
    let dead = world.keys.dead(world.keys.partition(log.ticket));
    let parked = world.redis.xadd(dead, false, None, "*", fields).await;
    let _: Value = parked.unwrap();
    let running = world.start("w1", &[]).await;
    until("the ticket is clean", async || world.dirty().await == 0).await;
    // Four messages and the creation.
    assert_eq!(running.figure("entries_lost_total").await, 5);
    world.finish([running]).await;
}

#[tokio::test]
async fn a_ticket_is_not_stored_without_what_never_changes() {
    let world = World::new().await;
    let log = conversation(1);
    world.log_of(&log).await;
    // The creation has vanished from the stream, and nobody has looked for it yet.
    world.dirty_since(&log, 9e15).await;
    world.add(&log.entries[2..]).await;
    let running = world.start("w1", &[]).await;
    until("the ticket is stored", async || {
        world.ticket(log.ticket).await.is_some()
    })
    .await;
    world.until_drained().await;
    let ticket = world.ticket(log.ticket).await.unwrap();
    assert_eq!(ticket["userId"], "u1".into());
    assert!(ticket.contains_key("createdAt"));
    world.dirty_since(&log, 1.0).await;
    check(&world, &log).await;
    world.finish([running]).await;
}

#[tokio::test]
async fn what_is_parked_is_not_put_back() {
    let world = World::new().await;
    let mut log = conversation(1);
    log.entries[2].version = 9;
    world.log_of(&log).await;
    world.add(&log.entries).await;
    let running = world.start("w1", &[]).await;
    until("the rest is stored", async || {
        world.count("messages").await == 4
    })
    .await;
    world.until_drained().await;
    world.dirty_since(&log, 1.0).await;
    // Time for some sweeps: there is nothing to be waited for.
    tokio::time::sleep(std::time::Duration::from_secs(7)).await;
    let partition = world.keys.partition(log.ticket);
    assert_eq!(world.dead(partition).await.len(), 1);
    assert_eq!(running.figure("entries_restored_total").await, 0);
    world.finish([running]).await;
}
