//! A Redis that comes back without the end of its append-only file, as after a power cut.

use std::{rc::Rc, time::Duration};

use fred::interfaces::ClientLike;
use mongodb::bson::{DateTime, doc, oid::ObjectId};
use ticket_gateway::{access::Grant, ticket::page::Page};
use ticket_shared::id::Id;

use crate::{
    server::Server,
    tickets::stored_ticket,
    world::{World, in_world_on, message},
};

async fn send(world: &World, id: Id, content: &str) -> u64 {
    let text = message(id, content, Some(content));
    let sent = world.tickets.send(id, text, &Grant::TEAM).await;
    sent.unwrap().0.seq
}

/// Waits until the end of the connection is known.
pub(super) async fn unconnected(world: &World) {
    while world.redis.is_connected() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Stores a message as a worker does.
async fn persist(world: &World, id: Id, seq: i64, content: &str) {
    let ticket = ObjectId::from_bytes(id.bytes());
    let message = Id::of_message(id, "user:u1", content);
    let stored = doc! {
        "_id": ObjectId::from_bytes(message.bytes()), "ticketId": ticket, "logVersion": 1, "seq": seq, "senderId": "u1",
        "senderType": "user", "senderName": "n", "content": content, "internal": false,
        "clientMessageId": content, "createdAt": DateTime::from_millis(1_000_000),
    };
    let messages = world.database.collection("messages");
    messages.insert_one(stored).await.unwrap();
    let set = doc! { "$set": { "seq": seq, "publicSeq": seq } };
    let tickets = world
        .database
        .collection::<mongodb::bson::Document>("tickets");
    tickets
        .update_one(doc! { "_id": ticket }, set)
        .await
        .unwrap();
}

#[tokio::test]
async fn numbers_that_mongodb_has_are_not_given_again() {
    let mut server = Server::absent();
    server.start_kept();
    let url = server.url();
    let lose = async |world: Rc<World>| {
        let id = stored_ticket(&world, 3).await;
        assert_eq!(send(&world, id, "kept").await, 5);
        let epoch = world.tickets.epoch(id).await.unwrap();
        let (file, length) = server.file();
        assert_eq!(send(&world, id, "persisted").await, 6);
        persist(&world, id, 5, "kept").await;
        persist(&world, id, 6, "persisted").await;
        assert_eq!(send(&world, id, "nowhere").await, 7);
        server.kill();
        unconnected(&world).await;
        let opened = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
        opened.set_len(length).unwrap();
        server.start_kept();
        world.redis.wait_for_connect().await.unwrap();

        assert_eq!(send(&world, id, "after").await, 7);
        assert_ne!(world.tickets.epoch(id).await.unwrap(), epoch);
        let page = Page {
            after: Some(4),
            before: None,
            limit: 9,
        };
        let page = world
            .tickets
            .messages(id, page, &Grant::TEAM)
            .await
            .unwrap();
        let page: Vec<_> = page.iter().map(|m| (m.seq, m.content.as_str())).collect();
        assert_eq!(page, [(5, "kept"), (6, "persisted"), (7, "after")]);
        // A repeat of what was lost is taken, one of what was not is known.
        assert_eq!(send(&world, id, "persisted").await, 6);
        assert_eq!(send(&world, id, "nowhere").await, 8);
    };
    in_world_on(&url, lose).await;
}

#[tokio::test]
async fn a_restart_without_loss_needs_no_new_epoch() {
    let mut server = Server::absent();
    server.start_kept();
    let url = server.url();
    let restart = async |world: Rc<World>| {
        let ids = [
            stored_ticket(&world, 3).await,
            stored_ticket(&world, 3).await,
        ];
        let mut epochs = Vec::new();
        for id in ids {
            assert_eq!(send(&world, id, "one").await, 5);
            epochs.push(world.tickets.epoch(id).await.unwrap());
        }
        server.kill();
        unconnected(&world).await;
        server.start_kept();
        world.redis.wait_for_connect().await.unwrap();
        for (id, epoch) in ids.into_iter().zip(epochs) {
            assert_eq!(send(&world, id, "two").await, 6);
            assert_eq!(send(&world, id, "one").await, 5);
            assert_eq!(world.tickets.epoch(id).await.unwrap(), epoch);
        }
    };
    in_world_on(&url, restart).await;
}
