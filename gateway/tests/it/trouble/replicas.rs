//! Redis servers that lack the last writes, or all of them.

use std::time::Duration;

use fred::{
    clients::Client,
    interfaces::{ClientLike, HashesInterface},
};
use futures::future::join_all;
use mongodb::bson::{DateTime, Document, doc, oid::ObjectId};
use ticket_gateway::{
    access::Grant,
    ticket::{Tickets, commit::Commit, view::Part},
    watch::Watch,
};
use ticket_shared::{domain::Message, event::ErrorCode, id::Id, redis};

use super::{PAGE, command, stored, until};
use crate::{
    server::Server,
    world::{World, in_world_on, message},
};

#[tokio::test]
async fn a_redis_that_lost_everything_goes_on_above_mongodb_in_another_epoch() {
    let mut server = Server::absent();
    server.start();
    in_world_on(&server.url(), |world| async move {
        let id = stored(&world).await;
        let before = world.tickets.read(id, Part::NONE).await.unwrap();
        let _: () = world.redis.flushall(false).await.unwrap();
        let (sent, _) = world
            .tickets
            .send(id, message(id, "after", None), &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!(sent.seq, 4);
        let after = world.tickets.read(id, Part::NONE).await.unwrap();
        assert_ne!(before.epoch, after.epoch);
    })
    .await;
}

#[tokio::test]
async fn a_replica_without_the_last_writes_gives_no_number_twice() {
    let (mut first, mut second) = (Server::absent(), Server::absent());
    first.start();
    second.start();
    let replica = redis::client(&second.url()).unwrap();
    replica.init().await.unwrap();
    let port = first.port().to_string();
    command(&replica, "REPLICAOF", &["127.0.0.1", &port]).await;
    in_world_on(&first.url(), |world| async move {
        let id = stored(&world).await;
        world
            .tickets
            .send(id, message(id, "kept", Some("kept")), &Grant::TEAM)
            .await
            .unwrap();
        let before = world.tickets.read(id, Part::NONE).await.unwrap();
        until(async || state(&replica, &world, id).await == Some("4".into())).await;
        // What comes now reaches MongoDB, as the worker would bring it there, but not the replica.
        command(&replica, "REPLICAOF", &["NO", "ONE"]).await;
        let (lost, _) = world
            .tickets
            .send(id, message(id, "lost", Some("lost")), &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!(lost.seq, 5);
        persisted(&world, &lost).await;

        let on_replica = Tickets::new(
            replica.clone(),
            world.keys.clone(),
            world.tickets.store().clone(),
            Watch::default(),
            Commit::start(&replica, &world.keys, &world.life),
        );
        let (again, repeated) = on_replica
            .send(id, message(id, "lost", Some("lost")), &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!(
            (again.seq, repeated),
            (5, true),
            "mongodb has it, so it was sent"
        );
        let (next, _) = on_replica
            .send(id, message(id, "next", None), &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!(next.seq, 6);
        let after = on_replica.read(id, Part::NONE).await.unwrap();
        assert_ne!(after.epoch, before.epoch);
        let page = on_replica.messages(id, PAGE, &Grant::TEAM).await.unwrap();
        assert_eq!(
            page.iter().map(|message| message.seq).collect::<Vec<_>>(),
            [2, 3, 4, 5, 6]
        );
        replica.quit().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn with_durability_replica_an_acknowledged_change_is_on_a_replica() {
    let (mut first, mut second) = (Server::absent(), Server::absent());
    first.start();
    second.start();
    let replica = redis::client(&second.url()).unwrap();
    replica.init().await.unwrap();
    command(
        &replica,
        "REPLICAOF",
        &["127.0.0.1", &first.port().to_string()],
    )
    .await;
    let url = first.url();
    in_world_on(&url, |world| {
        let (url, second) = (url.clone(), &second);
        async move {
            let id = stored(&world).await;
            let entrance = redis::Entrance::open(&url, world.keys.clone());
            let commit = Commit::on_replicas(&entrance, 1, &world.life).unwrap();
            let tickets = Tickets::new(
                world.redis.clone(),
                world.keys.clone(),
                world.tickets.store().clone(),
                Watch::default(),
                commit,
            );
            until(async || {
                tickets
                    .send(id, message(id, "first", Some("c1")), &Grant::TEAM)
                    .await
                    .is_ok()
            })
            .await;
            let sends = (0..50).map(|i| {
                let tickets = tickets.clone();
                async move {
                    tickets
                        .send(id, message(id, &format!("m{i}"), None), &Grant::TEAM)
                        .await
                        .unwrap()
                        .0
                        .seq
                }
            });
            let newest = join_all(sends).await.into_iter().max().unwrap();
            assert_eq!(state(&replica, &world, id).await, Some(newest.to_string()));

            second.signal("STOP");
            let refused = tickets.send(id, message(id, "late", Some("late")), &Grant::TEAM);
            let refused = tokio::time::timeout(Duration::from_secs(20), refused)
                .await
                .expect("an answer");
            assert_eq!(refused.unwrap_err().body().code, ErrorCode::Unavailable);
            second.signal("CONT");
            let again = async || {
                tickets
                    .send(id, message(id, "late", Some("late")), &Grant::TEAM)
                    .await
            };
            until(async || again().await.is_ok()).await;
            let (late, repeated) = again().await.unwrap();
            assert_eq!((late.seq, repeated), (newest + 1, true));
            replica.quit().await.unwrap();
        }
    })
    .await;
}

/// What the worker does with a message.
async fn persisted(world: &World, message: &Message) {
    let ticket = ObjectId::from_bytes(message.ticket_id.bytes());
    let seq = i64::try_from(message.seq).unwrap();
    let document = doc! {
        "_id": ObjectId::from_bytes(message.id.bytes()), "ticketId": ticket, "seq": seq, "logVersion": 1, "senderId": "u1",
        "senderType": "user", "senderName": "n", "content": &message.content, "internal": false,
        "clientMessageId": &message.client_message_id, "createdAt": DateTime::from_millis(message.created_at.0),
    };
    world
        .database
        .collection("messages")
        .insert_one(document)
        .await
        .unwrap();
    let newer = doc! { "$set": { "logVersion": 1, "seq": seq, "publicSeq": seq } };
    world
        .database
        .collection::<Document>("tickets")
        .update_one(doc! { "_id": ticket }, newer)
        .await
        .unwrap();
}

async fn state(redis: &Client, world: &World, id: Id) -> Option<String> {
    redis.hget(world.keys.state(id), "seq").await.unwrap()
}
