//! The watermark: never too high, and in the end at the top.

use fred::{
    interfaces::{HashesInterface, KeysInterface, SortedSetsInterface, StreamsInterface},
    types::Value,
};
use ticket_shared::stream::GROUP;

use crate::{
    harness::{World, until},
    inspect::ids,
    sample::{Log, id},
};

#[tokio::test]
async fn it_waits_for_what_is_missing_and_then_lets_the_ticket_go() {
    let world = World::new().await;
    let mut log = Log::opened(id(1, 1));
    log.message("two", false).message("three", false);
    world.warm(&log).await;
    let running = world.start("w1", &[]).await;

    world.add(&log.entries[2..]).await;
    until("the third entry is stored", async || {
        world.count("messages").await == 1 && world.unsettled().await.0 == 0
    })
    .await;
    world.add(&log.entries[..1]).await;
    until("the watermark is at the first", async || {
        world.state(log.ticket, "persisted").await.as_deref() == Some("1")
    })
    .await;
    assert_eq!(world.dirty().await, 1);
    assert_eq!(world.state(log.ticket, "ttl").await, None);
    assert_eq!(
        world
            .redis
            .exists::<i64, _>(world.keys.ahead(log.ticket))
            .await
            .unwrap(),
        1
    );

    world.add(&log.entries[1..2]).await;
    until("the ticket is clean", async || world.dirty().await == 0).await;
    assert_eq!(world.state(log.ticket, "persisted").await.unwrap(), "3");
    assert_eq!(world.state(log.ticket, "ttl").await.unwrap(), "1");
    let keys = [
        world.keys.state(log.ticket),
        world.keys.log(log.ticket),
        world.keys.idem(log.ticket),
    ];
    for key in keys {
        let ttl: i64 = world.redis.ttl(&key).await.unwrap();
        assert!((86_000..=86_400).contains(&ttl), "{key} lives {ttl} s");
    }
    let rest = world.keys.rest(world.keys.partition(log.ticket));
    let since: Option<f64> = world
        .redis
        .zscore(rest, log.ticket.to_string())
        .await
        .unwrap();
    assert!(since.is_some_and(|since| since > 1.7e12), "{since:?}");
    assert_eq!(
        world
            .redis
            .exists::<i64, _>(world.keys.ahead(log.ticket))
            .await
            .unwrap(),
        0
    );
    world.finish([running]).await;
}

#[tokio::test]
async fn a_ticket_leaves_the_index_of_what_mongodb_lacks_with_its_first_entry() {
    let world = World::new().await;
    let mut log = Log::opened(id(1, 1));
    log.message("two", false);
    world.warm(&log).await;
    let partition = world.keys.partition(log.ticket);
    let base = r#"{"description":"","userId":"u1","userName":null}"#;
    let state = world.keys.state(log.ticket);
    let _: i64 = world.redis.hset(state, ("base", base)).await.unwrap();
    let indexes = [
        world.keys.created(partition),
        world.keys.created_by(partition, "u1"),
    ];
    for index in &indexes {
        let member = (1.0, log.ticket.to_string());
        let _: () = world
            .redis
            .zadd(index, None, None, false, false, member)
            .await
            .unwrap();
    }
    world.add(&log.entries[..1]).await;
    let running = world.start("w1", &[]).await;
    until("it left both", async || {
        let left: i64 = world.redis.exists(indexes.to_vec()).await.unwrap();
        left == 0
    })
    .await;
    world.add(&log.entries[1..]).await;
    world.finish([running]).await;
}

#[tokio::test]
async fn hot_for_says_how_long_a_ticket_at_rest_stays() {
    for (setting, least, most) in [("2m", 60_000, 120_000), ("0", -1, -1)] {
        let world = World::new().await;
        let log = Log::opened(id(1, 1));
        world.append(&log).await;
        let running = world.start("w1", &["--hot-for", setting]).await;
        until("the ticket is clean", async || world.dirty().await == 0).await;
        let ttl: i64 = world
            .redis
            .pttl(world.keys.state(log.ticket))
            .await
            .unwrap();
        assert!((least..=most).contains(&ttl), "{setting}: {ttl} ms");
        world.finish([running]).await;
    }
}

#[tokio::test]
async fn a_ticket_that_left_redis_does_not_come_back_in_part() {
    let world = World::new().await;
    let log = Log::opened(id(1, 1));
    world.add(&log.entries).await;
    let running = world.start("w1", &[]).await;
    world.until_drained().await;
    assert!(world.ticket(log.ticket).await.is_some());
    let state = world.keys.state(log.ticket);
    assert_eq!(world.redis.exists::<i64, _>(state).await.unwrap(), 0);
    world.finish([running]).await;
}

#[tokio::test]
async fn trimming_leaves_what_is_pending_or_unread() {
    let world = World::new().await;
    let mut log = Log::opened(id(1, 1));
    for _ in 0..9 {
        log.message("x", false);
    }
    world.append(&log).await;
    let partition = world.keys.partition(log.ticket);
    let key = world.keys.events(partition);
    // Another worker has the third and fourth entry in hand, for longer than this test takes.
    let _: Value = world
        .redis
        .xgroup_create(&key, GROUP, "0", false)
        .await
        .unwrap();
    let read: Value = world
        .redis
        .xreadgroup(GROUP, "slow", Some(4), None, false, &key, ">")
        .await
        .unwrap();
    let ids: Vec<String> = ids(read);
    let _: Value = world
        .redis
        .xack(&key, GROUP, ids[..2].to_vec())
        .await
        .unwrap();

    let running = world.start("w1", &[]).await;
    until(
        "the entries before the pending ones are trimmed",
        async || world.unsettled().await == (2, 8),
    )
    .await;
    let _: Value = world
        .redis
        .xack(&key, GROUP, ids[2..].to_vec())
        .await
        .unwrap();
    world.finish([running]).await;
}
