//! Every kind of entry becomes the right documents, in whatever order and however often it comes.

use mongodb::bson::{Bson, DateTime, doc};
use ticket_shared::{domain::Status, stream::Entry};

use crate::{
    harness::{World, until},
    inspect::oid,
    sample::{Log, id},
};

fn story() -> Log {
    let mut log = Log::opened(id(1, 1));
    log.message("hello", false)
        .message("between us", true)
        .assigned(Some("Mona"))
        .status(Status::Closed)
        .message("مرحبا 👋", false)
        .message("another aside", true);
    log
}

#[tokio::test]
async fn every_kind_of_entry_becomes_its_documents() {
    let world = World::new().await;
    let log = story();
    world.append(&log).await;
    let running = world.start("w1", &[]).await;
    world.until_drained().await;

    let ticket = world.ticket(log.ticket).await.unwrap();
    assert_eq!(ticket["subject"], "Help".into());
    assert_eq!(ticket["description"], "It does not work".into());
    assert_eq!(ticket["userId"], "u1".into());
    assert_eq!(ticket["status"], "closed".into());
    assert_eq!(ticket["priority"], "normal".into());
    assert_eq!(ticket["tags"], vec!["a", "b"].into());
    assert_eq!(
        ticket["assignedAgent"],
        doc! { "agentId": "mona", "agentName": "Mona" }.into()
    );
    assert_eq!(ticket["seq"], 7_i64.into());
    assert_eq!(ticket["publicSeq"], 6_i64.into());
    assert_eq!(ticket["messageCount"], 2_i64.into());
    let time = |seq: i64| DateTime::from_millis(1_763_861_000_000 + seq);
    assert_eq!(
        ticket["lastMessage"],
        doc! {
            "content": "مرحبا 👋", "senderName": "سارة", "senderType": "user", "createdAt": time(6),
        }
        .into()
    );
    assert_eq!(ticket["createdAt"], time(0).into());
    assert_eq!(ticket["updatedAt"], time(7).into());
    assert_eq!(ticket["closedAt"], time(5).into());

    assert_eq!(world.count("messages").await, 4);
    let aside = world.find("messages", doc! { "seq": 3 }).await.unwrap();
    assert_eq!(aside["ticketId"], oid(log.ticket).into());
    assert_eq!(aside["content"], "between us".into());
    assert_eq!(aside["internal"], true.into());
    assert_eq!(aside["clientMessageId"], Bson::Null);
    assert_eq!(aside["createdAt"], time(3).into());
    let public = world.find("messages", doc! { "seq": 2 }).await.unwrap();
    assert_eq!(public["clientMessageId"], "c-2".into());

    assert_eq!(world.count("events").await, 3);
    let closed = doc! { "_id": format!("{}:5", log.ticket) };
    let closed = world.find("events", closed).await.unwrap();
    assert_eq!(closed["kind"], "status".into());
    assert_eq!(
        (&closed["from"], &closed["to"]),
        (&"open".into(), &"closed".into())
    );
    assert_eq!(closed["by"], doc! { "id": "a1", "name": "Omar" }.into());
    world.finish([running]).await;
}

#[tokio::test]
async fn a_ticket_of_the_former_server_is_numbered() {
    let world = World::new().await;
    let mut log = Log::new(id(1, 1));
    let old = [id(8, 1), id(8, 2)];
    log.adopted(&old).message("new", false);
    let messages = world.db.collection("messages");
    for old in old {
        let written =
            doc! { "_id": oid(old), "ticketId": log.ticket.to_string(), "content": "old" };
        messages.insert_one(written).await.unwrap();
    }
    let written = doc! { "_id": oid(log.ticket), "description": "old words", "status": "open" };
    world
        .db
        .collection("tickets")
        .insert_one(written)
        .await
        .unwrap();

    world.append(&log).await;
    let running = world.start("w1", &[]).await;
    world.until_drained().await;

    let second = world.find("messages", doc! { "seq": 3 }).await.unwrap();
    assert_eq!(second["_id"], oid(old[1]).into());
    assert_eq!(second["ticketId"], oid(log.ticket).into());
    assert_eq!(second["content"], "old".into());
    let ticket = world.ticket(log.ticket).await.unwrap();
    assert_eq!(ticket["description"], "old words".into());
    assert_eq!(ticket["seq"], 4_i64.into());
    assert_eq!(world.state(log.ticket, "persisted").await.unwrap(), "4");
    let adopted = world
        .find("events", doc! { "kind": "adopted" })
        .await
        .unwrap();
    assert_eq!(adopted["seq"], 3_i64.into());
    world.finish([running]).await;
}

#[tokio::test]
async fn a_replay_changes_nothing() {
    let world = World::new().await;
    let log = story();
    world.append(&log).await;
    let running = world.start("w1", &[]).await;
    world.until_drained().await;
    let before = world.everything().await;

    // As if the acknowledgements had been lost, for all and for some, together and one by one.
    world.add(&log.entries).await;
    world.until_drained().await;
    for entry in log.entries.iter().rev() {
        world.add(std::slice::from_ref(entry)).await;
    }
    world.until_drained().await;
    assert_eq!(world.everything().await, before);
    assert_eq!(world.state(log.ticket, "persisted").await.unwrap(), "7");
    world.finish([running]).await;
}

#[tokio::test]
async fn order_does_not_matter() {
    let world = World::new().await;
    let running = world.start("w1", &["--batch", "3"]).await;
    // The same story on several tickets, each in an order of its own; one waits for each entry.
    let mut logs = Vec::new();
    for number in 1..=4 {
        let mut log = Log::opened(id(number, 1));
        log.message("a", false)
            .status(Status::Pending)
            .message("b", false);
        world.warm(&log).await;
        logs.push(log);
    }
    let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]];
    for (place, seen) in (0..4).zip(1..) {
        let entries: Vec<Entry> = logs
            .iter()
            .zip(orders)
            .map(|(log, order)| log.entries[order[place]].clone())
            .collect();
        world.add(&entries).await;
        until("this part is stored", async || {
            world.count("messages").await + world.count("events").await >= 4 * seen
        })
        .await;
    }
    world.until_drained().await;
    let states = logs.iter().map(|log| log.ticket);
    for ticket in states {
        let stored = world.ticket(ticket).await.unwrap();
        assert_eq!(stored["seq"], 4_i64.into());
        assert_eq!(stored["status"], "pending".into());
        assert_eq!(stored["messageCount"], 2_i64.into());
        assert_eq!(
            stored["lastMessage"].as_document().unwrap()["content"],
            "b".into()
        );
        assert_eq!(stored["description"], "It does not work".into());
        assert_eq!(world.state(ticket, "persisted").await.unwrap(), "4");
    }
    assert_eq!(world.dirty().await, 0);
    world.finish([running]).await;
}
