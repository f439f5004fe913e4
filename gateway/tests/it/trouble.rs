//! What callers are told when Redis is in trouble, and that it heals: on a Redis of the test's own.

use std::{rc::Rc, time::Duration};

use fred::{
    interfaces::{ClientLike, HashesInterface},
    types::CustomCommand,
};
use mongodb::bson::{DateTime, doc, oid::ObjectId};
use ticket_gateway::{
    error::Error,
    ticket::{page::Page, view::Part},
};
use ticket_shared::{event::ErrorCode, id::Id};

use crate::{
    server::Server,
    world::{World, in_world, in_world_on, message},
};

const PAGE: Page = Page {
    after: None,
    before: None,
    limit: 10,
};

/// A ticket that is only in MongoDB, whose newest message is `seq` 3.
async fn stored(world: &World) -> Id {
    let id = Id::fresh().unwrap();
    let oid = ObjectId::from_bytes(id.bytes());
    let (tickets, messages) = (
        world.database.collection("tickets"),
        world.database.collection("messages"),
    );
    tickets
        .insert_one(doc! {
            "_id": oid, "subject": "s", "status": "open", "seq": 3_i64, "publicSeq": 3_i64,
            "messageCount": 2_i64, "createdAt": DateTime::from_millis(1_000), "updatedAt": DateTime::from_millis(1_000),
        })
        .await
        .unwrap();
    for seq in [2_i64, 3] {
        messages
            .insert_one(doc! {
                "ticketId": oid, "seq": seq, "senderId": "u1", "senderType": "user", "senderName": "n",
                "content": "c", "createdAt": DateTime::from_millis(1_000),
            })
            .await
            .unwrap();
    }
    id
}

async fn configure(world: &World, name: &str, value: &str) {
    let command = CustomCommand::new_static("CONFIG", None, false);
    let arguments = vec!["SET", name, value];
    let _: () = world.redis.custom(command, arguments).await.unwrap();
}

#[tokio::test]
async fn a_full_redis_refuses_changes_at_once_and_still_serves_readers() {
    let mut server = Server::absent();
    server.start();
    in_world_on(&server.url(), |world| async move {
        let id = stored(&world).await;
        world
            .tickets
            .send(id, message(id, "before", None))
            .await
            .unwrap();
        configure(&world, "maxmemory", "1").await;
        let error = world
            .tickets
            .send(id, message(id, "refused", Some("c1")))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Overloaded(_)), "{error}");
        let body = error.body();
        assert_eq!(body.code, ErrorCode::Overloaded);
        assert!(body.retry_after_ms.is_some());
        let page = world.tickets.messages(id, PAGE).await.unwrap();
        assert_eq!(page.last().unwrap().content, "before");
        configure(&world, "maxmemory", "0").await;
        let (sent, repeated) = world
            .tickets
            .send(id, message(id, "after", Some("c1")))
            .await
            .unwrap();
        assert_eq!(
            (sent.seq, repeated),
            (5, false),
            "nothing of the refused one was kept"
        );
    })
    .await;
}

#[tokio::test]
async fn a_dead_redis_is_unavailable_in_bounded_time() {
    let mut server = Server::absent();
    server.start();
    let url = server.url();
    let killed = async |world: Rc<World>| {
        let id = stored(&world).await;
        world
            .tickets
            .send(id, message(id, "before", None))
            .await
            .unwrap();
        server.kill();
        let refused = world.tickets.send(id, message(id, "refused", None));
        let refused = tokio::time::timeout(Duration::from_secs(10), refused)
            .await
            .expect("an answer");
        let body = refused.unwrap_err().body();
        assert_eq!(body.code, ErrorCode::Unavailable);
        assert!(body.retry_after_ms.is_some());
        assert!(world.tickets.list(None, 5).await.is_err());
        server.start();
        world.redis.wait_for_connect().await.unwrap();
    };
    in_world_on(&url, killed).await;
}

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
            .send(id, message(id, "after", None))
            .await
            .unwrap();
        assert_eq!(sent.seq, 4);
        let after = world.tickets.read(id, Part::NONE).await.unwrap();
        assert_ne!(before.epoch, after.epoch);
    })
    .await;
}

#[tokio::test]
async fn a_defect_is_opaque_outside() {
    in_world(|world| async move {
        let id = stored(&world).await;
        world.tickets.read(id, Part::NONE).await.unwrap();
        let _: i64 = world
            .redis
            .hset(world.keys.state(id), ("head", "secret words"))
            .await
            .unwrap();
        let error = world.tickets.ticket(id).await.unwrap_err();
        assert!(!format!("{error}").contains("secret"), "{error}");
        let body = error.body();
        assert_eq!(body.code, ErrorCode::Internal);
        assert_eq!(body.message, "something is broken on our side");
    })
    .await;
}
