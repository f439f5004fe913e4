//! What operators do with parked entries, by the command itself.

use std::process::Output;

use fred::interfaces::StreamsInterface;
use mongodb::bson::{Document, doc};

use crate::{
    harness::{World, until},
    sample::{Log, id},
};

/// What a command said, and how it ended.
struct Said {
    code: Option<i32>,
    out: String,
    error: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            error: text(output.stderr),
        }
    }
}

/// Runs `ticket-worker dead` with the settings of `world`.
async fn dead(world: &World, args: &[&str]) -> Said {
    dead_at(&world.redis_url, world, args).await
}

async fn dead_at(redis_url: &str, world: &World, args: &[&str]) -> Said {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_ticket-worker"))
        .env_clear()
        .env("KEY_PREFIX", world.keys.prefix())
        .env("PARTITIONS", world.keys.partitions().to_string())
        .env("REDIS_URL", redis_url)
        // What only workers need may be wrong.
        .env("MONGO_URI", "nonsense")
        .arg("dead")
        .args(args)
        .kill_on_drop(true)
        .output()
        .await
        .expect("the command runs")
        .into()
}

/// The ids that a list begins its lines with.
async fn ids(world: &World, args: &[&str]) -> Vec<String> {
    let said = dead(world, &[&["list"], args].concat()).await;
    assert_eq!(said.code, Some(0), "{}", said.error);
    let first = |line: &str| line.split('\t').next().map(str::to_owned);
    said.out.lines().filter_map(first).collect()
}

/// Whether MongoDB takes messages that say `forbidden`.
async fn forbid(world: &World, forbidden: bool) {
    let validator = if forbidden {
        doc! { "content": { "$ne": "forbidden" } }
    } else {
        Document::new()
    };
    let name = if forbidden { "create" } else { "collMod" };
    let command = doc! { name: "messages", "validator": validator };
    world.db.run_command(command).await.expect("the validator");
}

/// Parks garbage, an entry of a later version and one that MongoDB refuses, in this order.
async fn park(world: &World) -> Log {
    forbid(world, true).await;
    let mut log = Log::opened(id(1, 1));
    log.message("forbidden", false).message("fine", false);
    let partition = world.keys.partition(log.ticket);
    let mut other = Log::opened(id(1, 1));
    other.message("later words", false);
    let newer = serde_json::to_string(&other.entries[1]).expect("JSON");
    let newer = newer
        .replacen("\"v\":1", "\"v\":9", 1)
        .replacen("\"s\":2", "\"s\":4", 1);
    log.message("number four", false);
    world.warm(&log).await;
    world.add_raw(partition, "d", b"\xff{secret\x1b[2J").await;
    world.add_raw(partition, "d", newer.as_bytes()).await;
    world.add(&log.entries[..3]).await;
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_entries_are_listed_and_shown_without_anybodys_words() {
    let world = World::new().await;
    let log = park(&world).await;
    let running = world.start("w1", &[]).await;
    world.until_drained().await;

    let listed = dead(&world, &["list"]).await;
    assert_eq!((listed.code, listed.error.as_str()), (Some(0), ""));
    let lines: Vec<Vec<&str>> = listed
        .out
        .lines()
        .map(|l| l.split('\t').collect())
        .collect();
    assert_eq!(lines.len(), 3, "{}", listed.out);
    let ticket = log.ticket.to_string();
    assert!(lines[0][2].starts_with("malformed"), "{lines:?}");
    assert_eq!(lines[0][3..], ["1", "-", "-", "-"]);
    let newer = ["newer: entry format 9", "1", "message", &ticket, "4"];
    assert_eq!(lines[1][2..], newer);
    let refused = ["refused: MongoDB error 121", "5", "message", &ticket, "2"];
    assert_eq!(lines[2][2..], refused);
    assert!(lines[2][1].starts_with("20") && lines[2][1].ends_with('Z'));

    let partition = world.keys.partition(log.ticket).to_string();
    let elsewhere = ((world.keys.partition(log.ticket) + 1) % 4).to_string();
    assert_eq!(ids(&world, &["--partition", &partition]).await.len(), 3);
    assert!(ids(&world, &["--partition", &elsewhere]).await.is_empty());
    let json = dead(&world, &["list", "--json", "--limit", "2"]).await;
    let line: serde_json::Value = serde_json::from_str(json.out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&line["ticketId"], &line["seq"]),
        (&ticket.as_str().into(), &4.into())
    );
    assert!(json.error.contains("2 of 3 shown"), "{}", json.error);

    let mut all = ids(&world, &[]).await;
    all.insert(0, "show".into());
    let mut args: Vec<&str> = all.iter().map(String::as_str).collect();
    let shown = dead(&world, &args).await;
    args.push("--content");
    let whole = dead(&world, &args).await;
    assert_eq!((shown.code, whole.code), (Some(0), Some(0)));
    for word in ["forbidden", "secret", "later", "Help"] {
        assert!(!listed.out.contains(word) && !json.out.contains(word));
        assert!(!shown.out.contains(word), "{}", shown.out);
        assert!(word == "Help" || whole.out.contains(word), "{}", whole.out);
    }
    assert!(shown.out.contains("client's id     c-2"), "{}", shown.out);
    assert!(!whole.out.contains('\u{1b}'), "a terminal is left alone");
    world.finish([running]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_entry_ends_in_mongodb() {
    let world = World::new().await;
    let log = park(&world).await;
    let running = world.start("w1", &[]).await;
    world.until_drained().await;
    assert_eq!(world.state(log.ticket, "persisted").await.unwrap(), "3");
    assert_eq!(world.count("messages").await, 1);

    forbid(&world, false).await;
    let replayed = dead(&world, &["replay", "--all", "--reason", "refused"]).await;
    assert_eq!(replayed.code, Some(0), "{}", replayed.error);
    assert!(replayed.out.ends_with("1 replayed\n"), "{}", replayed.out);
    world.until_drained().await;
    let message = world.find("messages", doc! { "seq": 2 }).await.unwrap();
    assert_eq!(message["content"], "forbidden".into());
    let left = ids(&world, &[]).await;
    assert_eq!(left.len(), 2);

    // Nothing has changed for the others: they are parked anew, and nothing is stored twice.
    let before = world.everything().await;
    let again = dead(&world, &["replay", &left[0], &left[1], &left[0]]).await;
    assert_eq!(again.code, Some(0), "{}", again.error);
    assert_eq!(again.out.lines().count(), 3, "{}", again.out);
    world.until_drained().await;
    let anew = ids(&world, &[]).await;
    assert_eq!(anew.len(), 2);
    assert!(anew.iter().all(|id| !left.contains(id)));
    assert_eq!(world.everything().await, before);

    let gone = dead(&world, &["replay", &left[0], &anew[0]]).await;
    assert_eq!(gone.code, Some(1));
    assert!(gone.error.contains(&format!("not parked: {}", left[0])));
    assert_eq!(gone.error.lines().count(), 1, "{}", gone.error);
    assert!(gone.out.contains(&anew[0]), "the other one is replayed");
    world.finish([running]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_entry_is_gone_and_its_ticket_waits_no_longer() {
    let world = World::new().await;
    let log = park(&world).await;
    let running = world.start("w1", &[]).await;
    world.until_drained().await;
    let all = ids(&world, &[]).await;
    assert_eq!(
        world.dirty().await,
        1,
        "the entry of a later version is owed"
    );

    let refused = dead(&world, &["drop", &all[1]]).await;
    assert_eq!(refused.code, Some(78));
    assert!(refused.error.contains("--yes") && refused.error.lines().count() == 1);
    assert_eq!(ids(&world, &[]).await, all);

    let dropped = dead(&world, &["drop", &all[0], &all[1], "--yes"]).await;
    assert_eq!(dropped.code, Some(0), "{}", dropped.error);
    assert_eq!(dropped.out.lines().count(), 2);
    assert!(dropped.out.contains(&all[1]), "{}", dropped.out);
    assert!(!dropped.out.contains("later words"));
    assert_eq!(ids(&world, &[]).await, all[2..]);
    assert_eq!(world.state(log.ticket, "persisted").await.unwrap(), "4");
    assert_eq!(world.dirty().await, 0);

    for args in [&["drop", &all[1], "--yes"][..], &["show", &all[1]]] {
        let gone = dead(&world, args).await;
        assert_eq!((gone.code, gone.out.as_str()), (Some(1), ""));
        assert_eq!(gone.error, format!("error: not parked: {}\n", all[1]));
    }
    world.finish([running]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_dead_streams_are_walked_through_once() {
    let world = World::new().await;
    for number in 0..250 {
        let garbage = format!("{{{number}");
        world.add_raw(1, "d", garbage.as_bytes()).await;
    }
    world.add_raw(3, "d", b"{").await;
    let running = world.start("w1", &[]).await;
    world.until_drained().await;
    let all = ids(&world, &["--limit", "0"]).await;
    assert_eq!(all.len(), 251);
    assert_eq!(ids(&world, &["--limit", "120"]).await, all[..120]);

    // A worker parks them anew while they are replayed: that must not make it endless.
    let replayed = dead(&world, &["replay", "--all"]).await;
    assert!(
        replayed.out.ends_with("\n251 replayed\n"),
        "{}",
        replayed.error
    );
    world.until_drained().await;
    assert_eq!(ids(&world, &["--limit", "0"]).await.len(), 251);
    until("the figure is sampled", async || {
        let (_, metrics) = running.ask("/metrics").await;
        metrics.contains("ticket_worker_dead_length{partition=\"1\"} 250")
    })
    .await;
    world.finish([running]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_t_be_done_is_said_in_one_line() {
    let world = World::new().await;
    let key = world.keys.dead(2);
    let own: String = world
        .redis
        .xadd(&key, false, None, "*", ("d", "an operator's own"))
        .await
        .unwrap();
    let foreign = dead(&world, &["replay", "--all"]).await;
    assert_eq!(foreign.code, Some(1));
    assert!(
        foreign.error.contains(&format!("2:{own}")),
        "{}",
        foreign.error
    );
    assert_eq!(ids(&world, &[]).await.len(), 1, "it stays where it is");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let url = format!("redis://:hunter2@{address}");
    let absent = dead_at(&url, &world, &["list"]).await;
    assert_eq!((absent.code, absent.out.as_str()), (Some(1), ""));
    assert!(
        absent.error.contains("can't be reached"),
        "{}",
        absent.error
    );
    assert!(!absent.error.contains("hunter2"));
    assert_eq!(absent.error.lines().count(), 1, "{}", absent.error);

    for args in [
        &["list", "--partition", "4"][..],
        &["show", "nonsense"],
        &["replay"],
        &["replay", "--reason", "newer"],
    ] {
        let wrong = dead(&world, args).await;
        assert_eq!(wrong.code, Some(78), "{args:?}");
        assert_eq!(wrong.error.lines().count(), 1, "{}", wrong.error);
    }
    let help = dead(&world, &["replay", "--help"]).await;
    assert!(help.code == Some(0) && help.out.contains("--reason"));
}
