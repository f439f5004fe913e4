//! A ticket that `ticket-worker adopt` holds is left alone by gateways until it is given back.

use std::{cell::Cell, time::Duration};

use fred::interfaces::KeysInterface;
use mongodb::bson::{DateTime, Document, doc, oid::ObjectId};
use ticket_gateway::ticket::view::Part;
use ticket_shared::{id::Id, stream::HELD};
use ticket_testing::OpMsg;

use crate::world::{World, in_world};

async fn old_ticket(world: &World) -> Id {
    let id = Id::fresh().unwrap();
    let own = ObjectId::from_bytes(id.bytes());
    let tickets = world.database.collection::<Document>("tickets");
    let ticket = doc! { "_id": own, "subject": "s", "status": "open" };
    tickets.insert_one(ticket).await.unwrap();
    add(world, id, 1).await;
    id
}

async fn add(world: &World, ticket: Id, n: i64) {
    let messages = world.database.collection::<Document>("messages");
    let ticket = ObjectId::from_bytes(ticket.bytes());
    let at = DateTime::from_millis(n * 1_000);
    let message = doc! { "ticketId": ticket, "content": format!("m{n}"), "createdAt": at };
    messages.insert_one(message).await.unwrap();
}

async fn mark(world: &World, ticket: Id, mark: &str) {
    let key = world.keys.takeover(ticket);
    let _: () = world.redis.set(key, mark, None, None, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_waits_until_the_ticket_is_given_back() {
    in_world(|world| async move {
        let id = old_ticket(&world).await;
        mark(&world, id, &format!("{HELD}a")).await;
        let given_back = Cell::new(false);
        let joining = async {
            let view = world.tickets.read(id, Part::NONE).await.unwrap();
            assert!(given_back.get(), "it waits");
            view.numbers.seq
        };
        let adopting = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            add(&world, id, 2).await;
            given_back.set(true);
            mark(&world, id, "done:a").await;
        };
        let (seq, ()) = tokio::join!(joining, adopting);
        assert_eq!(seq, 3);

        let other = old_ticket(&world).await;
        mark(&world, other, &format!("{HELD}b")).await;
        let error = world.tickets.read(other, Part::NONE).await.unwrap_err();
        assert_eq!(error.code(), ticket_shared::event::ErrorCode::Unavailable);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_before_an_adoption_is_not_put_into_redis_after_it() {
    in_world(|world| async move {
        let id = old_ticket(&world).await;
        let proxy = OpMsg::of(&world.mongo_uri).await.unwrap();
        let tickets = world.by_way_of(proxy.address());
        mark(&world, id, "done:earlier").await;
        proxy.hold(Some("find"));
        let adopting = async {
            while proxy.answered() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // An adoption comes and goes between what the gateway reads and what it puts.
            mark(&world, id, "done:later").await;
            proxy.hold(None);
        };
        let (view, ()) = tokio::join!(tickets.read(id, Part::NONE), adopting);
        assert_eq!(view.unwrap().numbers.seq, 2);
        let owed = world.owed(id).await;
        assert_eq!(owed.len(), 1, "it was put there once: {owed:?}");
    })
    .await;
}
