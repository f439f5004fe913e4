//! Tickets with very many messages, of which `WARM_MESSAGES` sets the number.

use std::{cell::Cell, time::Duration};

use fred::interfaces::{ClientLike, HashesInterface, KeysInterface};
use futures::future::join_all;
use mongodb::bson::{DateTime, Document, doc, oid::ObjectId};
use ticket_gateway::access::Grant;
use ticket_gateway::ticket::{page::Page, view::Part};
use ticket_shared::{id::Id, stream::Change};
use ticket_testing::OpMsg;

use crate::world::{World, in_world};

fn size() -> u64 {
    let size = std::env::var("WARM_MESSAGES").ok();
    size.map_or(5_000, |size| size.parse().unwrap())
}

fn oid(id: Id) -> ObjectId {
    ObjectId::from_bytes(id.bytes())
}

/// Stores a ticket with so many messages of the former server, of which every tenth is an internal note.
async fn old_ticket(world: &World, messages: u64) -> Id {
    let id = Id::fresh().unwrap();
    let tickets = world.database.collection::<Document>("tickets");
    let ticket = doc! { "_id": oid(id), "subject": "s", "status": "open", "userId": "u1" };
    tickets.insert_one(ticket).await.unwrap();
    let collection = world.database.collection::<Document>("messages");
    let all: Vec<u64> = (0..messages).collect();
    for chunk in all.chunks(5_000) {
        let some = chunk.iter().map(|n| {
            doc! {
                "ticketId": oid(id), "content": format!("m{n} {}", "x".repeat(100)), "senderId": "u1",
                "isInternal": n % 10 == 9, "createdAt": DateTime::from_millis(1_700_000_000_000 + n.cast_signed()),
            }
        });
        collection.insert_many(some).await.unwrap();
    }
    id
}

/// Stores a ticket of our own with so many messages, each of which its client gave an id.
async fn own_ticket(world: &World, messages: u64) -> Id {
    let id = Id::fresh().unwrap();
    let at = DateTime::from_millis(1_700_000_000_000);
    let seq = (messages + 1).cast_signed();
    let tickets = world.database.collection::<Document>("tickets");
    let ticket = doc! {
        "_id": oid(id), "subject": "s", "status": "open", "userId": "u1", "seq": seq, "publicSeq": seq,
        "messageCount": seq - 1, "logVersion": 1, "createdAt": at, "updatedAt": at, "publicUpdatedAt": at,
    };
    tickets.insert_one(ticket).await.unwrap();
    let collection = world.database.collection::<Document>("messages");
    let all: Vec<u64> = (2..messages + 2).collect();
    for chunk in all.chunks(5_000) {
        let some = chunk.iter().map(|n| {
            let client_id = format!("c{n}");
            doc! {
                "_id": oid(Id::of_message(id, "user:u1", &client_id)), "ticketId": oid(id), "seq": n.cast_signed(),
                "content": format!("m{n}"), "senderId": "u1", "senderType": "user", "internal": false,
                "clientMessageId": client_id, "createdAt": at, "logVersion": 1,
            }
        });
        collection.insert_many(some).await.unwrap();
    }
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_old_ticket_is_numbered_while_others_are_joined() {
    in_world(|world| async move {
        let messages = size();
        let large = old_ticket(&world, messages).await;
        let mut small = Vec::new();
        for _ in 0..40 {
            small.push(old_ticket(&world, 3).await);
        }
        let proxy = OpMsg::of(&world.mongo_uri).await.unwrap();
        let tickets = world.by_way_of(proxy.address());
        // Nothing but a read in batches asks for more of its cursor.
        proxy.hold(Some("getMore"));
        let released = Cell::new(false);
        let warming = async {
            let view = tickets.read(large, Part::NONE).await.unwrap();
            assert!(released.get(), "it was held before its end");
            view
        };
        let joining = async {
            while proxy.answered() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // More than there are operations at a time, all of them through before the large one.
            let joins = small.iter().map(|id| tickets.read(*id, Part::NONE));
            for view in join_all(joins).await {
                assert_eq!(view.unwrap().numbers.seq, 4);
            }
            released.set(true);
            let held = proxy.answered();
            proxy.hold(None);
            held
        };
        let (view, held) = tokio::join!(warming, joining);
        assert_eq!((held, view.numbers.seq), (1, messages + 1));
        assert_eq!(view.numbers.message_count, messages - messages / 10);

        let owed = world.owed(large).await;
        let mut numbered = Vec::new();
        // Others of its partition stand there too.
        for entry in owed.into_iter().filter(|entry| entry.ticket_id == large) {
            let Change::Adopted { messages, .. } = entry.change else {
                panic!("{entry:?}");
            };
            assert!(messages.len() <= 1_000);
            numbered.extend(messages.into_iter().map(|(_, seq)| seq));
        }
        assert!(numbered.into_iter().eq(2..messages + 2));
        for before in [messages + 2, messages / 2] {
            let page = Page {
                after: None,
                before: Some(before),
                limit: 50,
            };
            let page = tickets.messages(large, page, &Grant::TEAM).await.unwrap();
            for (message, seq) in page.iter().rev().zip((2..before).rev()) {
                let text = format!("m{} ", seq - 2);
                assert_eq!(message.seq, seq);
                assert!(
                    message.content.starts_with(&text),
                    "{seq}: {}",
                    message.content
                );
            }
            assert_eq!(page.len(), 50);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_ticket_of_our_own_comes_back_with_all_ids_of_its_clients() {
    in_world(|world| async move {
        let messages = size();
        let id = own_ticket(&world, messages).await;
        let view = world.tickets.read(id, Part::NONE).await.unwrap();
        assert_eq!(view.numbers.seq, messages + 1);
        let idem = world.keys.idem(id);
        let ids: u64 = world.redis.hlen(&idem).await.unwrap();
        assert_eq!(ids, messages);
        let left: i64 = world.redis.pttl(&idem).await.unwrap();
        assert!(
            left > 3_600_000,
            "as long as the rest of it, not as long as it was staged: {left}"
        );
        let again = crate::world::message(id, "again", Some("c7"));
        let (sent, duplicate) = world.tickets.send(id, again, &Grant::TEAM).await.unwrap();
        assert_eq!((sent.seq, duplicate), (7, true));
        let pattern = format!("{idem}:*");
        let keys = fred::types::CustomCommand::new_static("KEYS", None, false);
        let staged: Vec<String> = world.redis.custom(keys, vec![pattern]).await.unwrap();
        assert_eq!(staged, Vec::<String>::new());
    })
    .await;
}
