//! Entries that can't be persisted stop only themselves.

use fred::{interfaces::StreamsInterface, types::Value};
use mongodb::bson::doc;
use ticket_shared::stream::{Entry, GROUP};

use crate::{
    harness::{World, until},
    sample::{Log, id},
};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[tokio::test]
async fn what_is_no_entry_is_parked_as_it_came() {
    let world = World::new().await;
    let mut log = Log::opened(id(1, 1));
    log.message("before", false).message("after", false);
    let partition = world.keys.partition(log.ticket);
    let newer = serde_json::to_string(&log.entries[0]).unwrap();
    let newer = newer.replacen("\"v\":1", "\"v\":9", 1);

    world.warm(&log).await;
    world.add(&log.entries[..2]).await;
    let garbage = world.add_raw(partition, "d", b"\xff{secret").await;
    world.add_raw(partition, "d", newer.as_bytes()).await;
    world.add_raw(partition, "other", b"1").await;
    world.add(&log.entries[2..]).await;
    let running = world.start("w1", &[]).await;
    world.until_drained().await;

    assert_eq!(world.count("messages").await, 2);
    assert_eq!(world.state(log.ticket, "persisted").await.unwrap(), "3");
    let dead = world.dead(partition).await;
    assert_eq!(dead.len(), 3);
    assert_eq!(dead[0]["d"], b"\xff{secret");
    assert_eq!(text(&dead[0]["id"]), garbage);
    assert_eq!(text(&dead[0]["tries"]), "1");
    assert!(text(&dead[0]["reason"]).starts_with("malformed"));
    assert!(!text(&dead[0]["reason"]).contains("secret"));
    assert!(text(&dead[0]["at"]).parse::<i64>().unwrap() > 1_700_000_000_000);
    assert_eq!(text(&dead[1]["reason"]), "newer: entry format 9");
    assert_eq!(text(&dead[1]["d"]), newer);
    assert_eq!(dead[2]["other"], b"1");
    world.finish([running]).await;
}

#[tokio::test]
async fn what_mongodb_refuses_is_parked_and_its_neighbours_are_stored() {
    let world = World::new().await;
    let create = doc! {
        "create": "messages",
        "validator": { "content": { "$ne": "forbidden" } },
        "validationLevel": "strict",
        "validationAction": "error",
    };
    world.db.run_command(create).await.unwrap();
    let create = doc! {
        "create": "tickets",
        "validator": { "subject": { "$ne": "forbidden" } },
    };
    world.db.run_command(create).await.unwrap();

    let mut log = Log::opened(id(1, 1));
    log.message("one", false)
        .message("forbidden", false)
        .message("three", false);
    // A ticket whose newest state is refused, and whose older one is not.
    let mut other = Log::opened(id(2, 1));
    other.message("fine", false).message("fine, too", false);
    other.entries[2].head.subject = "forbidden".into();
    world.append(&log).await;
    world.append(&other).await;
    let running = world.start("w1", &[]).await;
    world.until_drained().await;

    let dead = world.dead(world.keys.partition(log.ticket)).await;
    let refused: Vec<&[u8]> = dead.iter().map(|fields| fields["d"].as_slice()).collect();
    let entry = Entry::decode(refused[0]).unwrap();
    assert_eq!((entry.ticket_id, entry.seq), (log.ticket, 3));
    assert_eq!(text(&dead[0]["tries"]), "5");
    assert_eq!(text(&dead[0]["reason"]), "refused: MongoDB error 121");
    assert_eq!(world.count("messages").await, 4);
    let ticket = world.ticket(log.ticket).await.unwrap();
    assert_eq!(ticket["seq"], 4_i64.into());
    assert_eq!(world.state(log.ticket, "persisted").await.unwrap(), "4");

    let ticket = world.ticket(other.ticket).await.unwrap();
    assert_eq!(ticket["seq"], 2_i64.into(), "the older state is stored");
    assert_eq!(world.state(other.ticket, "persisted").await.unwrap(), "3");
    assert_eq!(
        world.dead(world.keys.partition(other.ticket)).await.len(),
        1
    );
    assert_eq!(world.dirty().await, 0);
    world.finish([running]).await;
}

#[tokio::test]
async fn a_long_row_of_refused_states_takes_one_round_more() {
    let world = World::new().await;
    let create = doc! {
        "create": "tickets",
        "validator": { "subject": { "$ne": "forbidden" } },
    };
    world.db.run_command(create).await.unwrap();
    let mut log = Log::opened(id(1, 1));
    for _ in 0..120 {
        log.message("fine", false);
    }
    for entry in &mut log.entries[1..] {
        entry.head.subject = "forbidden".into();
    }
    let mut neighbour = Log::opened(id(2, 1));
    neighbour.message("fine, too", false);
    world.append(&log).await;
    world.append(&neighbour).await;
    let running = world.start("w1", &[]).await;
    world.until_drained().await;

    let dead = world.dead(world.keys.partition(log.ticket)).await;
    assert_eq!(dead.len(), 120);
    let mut tries: Vec<&str> = dead.iter().map(|fields| text(&fields["tries"])).collect();
    tries.sort_unstable();
    assert_eq!((tries[0], tries[1], tries[119]), ("5", "6", "6"));
    assert_eq!(world.count("messages").await, 121, "messages are stored");
    let ticket = world.ticket(log.ticket).await.unwrap();
    assert_eq!(ticket["seq"], 1_i64.into());
    assert_eq!(world.dirty().await, 0);
    world.finish([running]).await;
}

#[tokio::test]
async fn an_entry_that_redis_forgot_is_parked_all_the_same() {
    let world = World::new().await;
    let create = doc! { "create": "messages", "validator": { "content": { "$ne": "forbidden" } } };
    world.db.run_command(create).await.unwrap();
    let mut log = Log::opened(id(1, 1));
    log.message("forbidden", false);
    world.append(&log).await;
    let partition = world.keys.partition(log.ticket);
    let key = world.keys.events(partition);
    let running = world.start("w1", &[]).await;
    until("it is read", async || world.unsettled().await.0 > 0).await;
    let _: i64 = world.redis.xgroup_destroy(&key, GROUP).await.unwrap();
    let _: Value = world.redis.xtrim(&key, ("MAXLEN", "=", 0)).await.unwrap();

    let mut late = Log::opened(id(1, 1));
    late.message("fine", false);
    world.add(&late.entries).await;
    until("the worker goes on", async || {
        world.count("messages").await == 1
    })
    .await;
    assert_eq!(world.dead(partition).await.len(), 1);
    world.finish([running]).await;
}
