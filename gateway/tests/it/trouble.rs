//! What callers are told when Redis is in trouble, and that it heals: on a Redis of the test's own.

use std::{rc::Rc, time::Duration};

use fred::{
    clients::Client,
    interfaces::{ClientLike, HashesInterface, KeysInterface},
    types::{CustomCommand, InfoKind, Value},
};
use futures::future::join_all;
use mongodb::bson::{DateTime, doc, oid::ObjectId};
use ticket_gateway::{
    access::Grant,
    error::Error,
    ticket::{Tickets, commit::Commit, page::Page, view::Part},
    watch::{Limit, Limits, Warning, Watch},
};
use ticket_shared::{event::ErrorCode, id::Id};

use crate::{
    server::Server,
    world::{World, in_world, in_world_on, message},
};

mod registry;
mod replicas;
mod tail;

const PAGE: Page = Page {
    after: None,
    before: None,
    limit: 10,
};

/// A ticket that is only in MongoDB, whose newest message is `seq` 3.
pub(crate) async fn stored(world: &World) -> Id {
    let id = Id::fresh().unwrap();
    let oid = ObjectId::from_bytes(id.bytes());
    let (tickets, messages) = (
        world.database.collection("tickets"),
        world.database.collection("messages"),
    );
    tickets
        .insert_one(doc! {
            "_id": oid, "subject": "s", "status": "open", "logVersion": 1, "seq": 3_i64, "publicSeq": 3_i64,
            "messageCount": 2_i64, "createdAt": DateTime::from_millis(1_000), "updatedAt": DateTime::from_millis(1_000),
        })
        .await
        .unwrap();
    for seq in [2_i64, 3] {
        messages
            .insert_one(doc! {
                "ticketId": oid, "seq": seq, "logVersion": 1, "senderId": "u1", "senderType": "user", "senderName": "n",
                "content": "c", "createdAt": DateTime::from_millis(1_000),
            })
            .await
            .unwrap();
    }
    id
}

async fn configure(world: &World, name: &str, value: &str) {
    command(&world.redis, "CONFIG", &["SET", name, value]).await;
}

async fn command(redis: &Client, name: &'static str, arguments: &[&str]) {
    let command = CustomCommand::new_static(name, None, false);
    let _: Value = redis.custom(command, arguments.to_vec()).await.unwrap();
}

#[tokio::test]
async fn a_full_redis_refuses_changes_at_once_and_still_serves_readers() {
    let mut server = Server::absent();
    server.start();
    in_world_on(&server.url(), |world| async move {
        let id = stored(&world).await;
        world
            .tickets
            .send(id, message(id, "before", Some("c0")), &Grant::TEAM)
            .await
            .unwrap();
        configure(&world, "maxmemory", "1").await;
        let error = world
            .tickets
            .send(id, message(id, "refused", Some("c1")), &Grant::TEAM)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Overloaded(_)), "{error}");
        let body = error.body();
        assert_eq!(body.code, ErrorCode::Overloaded);
        assert!(body.retry_after_ms.is_some());
        let again = message(id, "before", Some("c0"));
        let (first, repeated) = world.tickets.send(id, again, &Grant::TEAM).await.unwrap();
        assert_eq!(
            (first.seq, repeated),
            (4, true),
            "what was accepted is acknowledged"
        );
        let page = world
            .tickets
            .messages(id, PAGE, &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!(page.last().unwrap().content, "before");
        configure(&world, "maxmemory", "0").await;
        let (sent, repeated) = world
            .tickets
            .send(id, message(id, "after", Some("c1")), &Grant::TEAM)
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
            .send(id, message(id, "before", None), &Grant::TEAM)
            .await
            .unwrap();
        server.kill();
        let refused = world
            .tickets
            .send(id, message(id, "refused", None), &Grant::TEAM);
        let refused = tokio::time::timeout(Duration::from_secs(10), refused)
            .await
            .expect("an answer");
        let body = refused.unwrap_err().body();
        assert_eq!(body.code, ErrorCode::Unavailable);
        assert!(body.retry_after_ms.is_some());
        assert!(world.tickets.list(None, 5, &Grant::TEAM).await.is_err());
        server.start();
        world.redis.wait_for_connect().await.unwrap();
    };
    in_world_on(&url, killed).await;
}

#[tokio::test]
async fn too_much_that_is_owed_is_refused_until_it_is_persisted() {
    in_world(|world| async move {
        let id = stored(&world).await;
        let watch = Watch::default();
        let limits = Limits {
            backlog: 5,
            memory_percent: 100,
            hot_for: Duration::ZERO,
        };
        watch.start(world.redis.clone(), world.keys.clone(), limits, &world.life);
        let store = world.tickets.store().clone();
        let tickets = Tickets::new(
            world.redis.clone(),
            world.keys.clone(),
            store,
            watch.clone(),
            Commit::start(&world.redis, &world.keys, &world.life),
        );
        for _ in 0..6 {
            tickets
                .send(id, message(id, "m", None), &Grant::TEAM)
                .await
                .unwrap();
        }
        until(async || watch.refused_for() == Some(Limit::Backlog)).await;
        let error = tickets
            .send(id, message(id, "m", None), &Grant::TEAM)
            .await
            .unwrap_err();
        let body = error.body();
        assert_eq!(body.code, ErrorCode::Overloaded);
        assert!(body.message.starts_with("backlog: "), "{}", body.message);
        assert_eq!(
            tickets.ticket(id, &Grant::TEAM).await.unwrap().seq,
            9,
            "readers are served"
        );
        let events = world.keys.events(world.keys.partition(id));
        let _: i64 = world.redis.del(events).await.unwrap();
        until(async || watch.refused_for().is_none()).await;
        assert!(
            tickets
                .send(id, message(id, "m", None), &Grant::TEAM)
                .await
                .is_ok()
        );
        assert!(
            watch
                .warnings()
                .contains(&Warning::RedisKeepsNoAppendOnlyFile)
                || has_file(&world).await
        );
    })
    .await;
}

async fn has_file(world: &World) -> bool {
    let info: String = world.redis.info(Some(InfoKind::Persistence)).await.unwrap();
    info.contains("aof_enabled:1")
}

async fn until(met: impl AsyncFn() -> bool) {
    let waiting = async {
        while !met().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .expect("in time");
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
        let error = world.tickets.ticket(id, &Grant::TEAM).await.unwrap_err();
        assert!(!format!("{error}").contains("secret"), "{error}");
        let body = error.body();
        assert_eq!(body.code, ErrorCode::Internal);
        assert_eq!(body.message, "something is broken on our side");
    })
    .await;
}

#[tokio::test]
async fn an_append_that_redis_refuses_does_not_stop_the_others_of_its_group() {
    in_world(|world| async move {
        let (broken, whole) = (stored(&world).await, stored(&world).await);
        let team = Grant::TEAM;
        // All of them wait at once, so that they go in groups.
        let sends = || {
            (0..20).map(|n| {
                let id = if n % 2 == 0 { broken } else { whole };
                world.tickets.send(id, message(id, "m", None), &team)
            })
        };
        assert!(join_all(sends()).await.iter().all(Result::is_ok));
        let state = world.keys.state(broken);
        let _: () = world
            .redis
            .set(state, "no hash", None, None, false)
            .await
            .unwrap();
        for (n, answer) in join_all(sends()).await.into_iter().enumerate() {
            assert_eq!(answer.is_ok(), n % 2 == 1, "{answer:?}");
        }
    })
    .await;
}
