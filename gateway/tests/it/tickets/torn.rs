//! Keys that go by themselves, evicted or deleted by hand: noticed before anything is answered, and mended.

use fred::interfaces::{HashesInterface, KeysInterface, SortedSetsInterface, StreamsInterface};
use mongodb::bson::{DateTime, doc, oid::ObjectId};
use ticket_gateway::{
    access::Grant,
    error::Error,
    ticket::{
        append::Opened,
        page::Page,
        view::{Part, Which},
    },
};
use ticket_shared::{domain::Message, id::Id};

use super::{latest, opened, parts, stored_ticket};
use crate::world::{World, in_world, message};

async fn send(world: &World, id: Id, content: &str) -> (u64, bool) {
    let text = message(id, content, Some(content));
    let (sent, repeated) = world.tickets.send(id, text, &Grant::TEAM).await.unwrap();
    (sent.seq, repeated)
}

fn seqs(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(|message| message.seq).collect()
}

/// Everything after the first two, as a page and as what a socket missed.
async fn after_two(world: &World, id: Id) -> [Vec<u64>; 2] {
    let page = Page {
        after: Some(2),
        before: None,
        limit: 100,
    };
    let page = world
        .tickets
        .messages(id, page, &Grant::TEAM)
        .await
        .unwrap();
    let view = world
        .tickets
        .read(id, Part::newest(50, Which::Messages))
        .await
        .unwrap();
    let missed = world
        .tickets
        .missed(id, &view, 2, 300, Which::Messages)
        .await
        .unwrap();
    [seqs(&page), seqs(&missed.unwrap())]
}

/// The ticket's keys, by name.
fn key(world: &World, id: Id, name: &str) -> String {
    let keys = &world.keys;
    match name {
        "state" => keys.state(id),
        "log" => keys.log(id),
        "idem" => keys.idem(id),
        "stream" => keys.events(keys.partition(id)),
        "epoch" => keys.epoch(keys.partition(id)),
        _ => panic!("{name}"),
    }
}

async fn delete(world: &World, id: Id, names: &[&str]) {
    for name in names {
        let _: i64 = world.redis.del(key(world, id, name)).await.unwrap();
    }
}

#[tokio::test]
async fn whatever_goes_of_a_clean_ticket_nothing_is_hidden_or_doubled() {
    in_world(|world| async move {
        for gone in [
            &["log"][..],
            &["idem"],
            &["state"],
            &["epoch"],
            &["log", "idem"],
            &["state", "idem"],
            &["log", "epoch", "idem"],
        ] {
            let id = stored_ticket(&world, 5).await;
            world.tickets.read(id, Part::NONE).await.unwrap();
            delete(&world, id, gone).await;
            assert_eq!(after_two(&world, id).await, [[3, 4, 5, 6], [3, 4, 5, 6]]);
            delete(&world, id, gone).await;
            assert_eq!(send(&world, id, "c4").await, (4, true), "{gone:?}");
            delete(&world, id, gone).await;
            assert_eq!(send(&world, id, "new").await, (7, false), "{gone:?}");
            assert_eq!(
                after_two(&world, id).await,
                [[3, 4, 5, 6, 7], [3, 4, 5, 6, 7]]
            );
        }
    })
    .await;
}

#[tokio::test]
async fn whatever_goes_of_a_ticket_that_is_nowhere_else_the_rest_is_enough() {
    in_world(|world| async move {
        for gone in [
            &["log"][..],
            &["idem"],
            &["state"],
            &["stream"],
            &["log", "idem"],
            &["state", "idem"],
            &["state", "log", "idem"],
            &["state", "stream", "idem"],
            &["state", "log", "idem", "epoch"],
        ] {
            let id = opened(&world).await.id;
            for content in ["a", "b", "c"] {
                send(&world, id, content).await;
            }
            delete(&world, id, gone).await;
            assert_eq!(send(&world, id, "c").await, (4, true), "{gone:?}");
            delete(&world, id, gone).await;
            if gone.contains(&"stream") && gone.contains(&"state") {
                // The stream has nothing of what was sent before, so the log must have all.
                assert_eq!(after_two(&world, id).await, [[3, 4], [3, 4]]);
            }
            assert_eq!(send(&world, id, "d").await, (5, false), "{gone:?}");
            assert_eq!(after_two(&world, id).await, [[3, 4, 5], [3, 4, 5]]);
            let now = world.tickets.ticket(id, &Grant::TEAM).await.unwrap();
            assert_eq!((now.seq, now.message_count), (5, 4));
            assert_eq!(now.user_id.as_deref(), Some("u1"));
        }
    })
    .await;
}

#[tokio::test]
async fn what_nothing_has_is_not_passed_over() {
    in_world(|world| async move {
        let id = opened(&world).await.id;
        for content in ["a", "b", "c"] {
            send(&world, id, content).await;
        }
        delete(&world, id, &["log", "stream"]).await;
        let text = message(id, "d", Some("d"));
        let refused = world.tickets.send(id, text, &Grant::TEAM).await;
        assert!(matches!(refused, Err(Error::Unavailable { .. })));
        let refused = world.tickets.messages(id, latest(5), &Grant::TEAM).await;
        assert!(matches!(refused, Err(Error::Unavailable { .. })));
        // With its state gone, too, there is a word that it was there, and nobody opens it anew.
        delete(&world, id, &["state"]).await;
        let (base, head) = parts("s");
        let again = world
            .tickets
            .open(id, &base, &head, None, true, &Grant::TEAM)
            .await;
        assert!(matches!(again, Err(Error::Unavailable { .. })));
        // A worker that found that nothing is owed any more ends it.
        let dirty = world.keys.dirty(world.keys.partition(id));
        let _: i64 = world.redis.zrem(dirty, id.to_string()).await.unwrap();
        let gone = world.tickets.ticket(id, &Grant::TEAM).await;
        assert!(matches!(gone, Err(Error::TicketNotFound)));
    })
    .await;
}

#[tokio::test]
async fn states_of_a_former_version_are_believed_once_they_are_checked() {
    in_world(|world| async move {
        let id = stored_ticket(&world, 5).await;
        send(&world, id, "old").await;
        // As a former version warms: messages alone, and no word of the others.
        let state = world.keys.state(id);
        let _: i64 = world.redis.hdel(&state, "unkeyed").await.unwrap();
        let _: i64 = world.redis.xdel(world.keys.log(id), "1-0").await.unwrap();
        assert_eq!(send(&world, id, "old").await, (7, true));
        let _: i64 = world.redis.hdel(&state, "unkeyed").await.unwrap();
        let _: i64 = world.redis.xdel(world.keys.log(id), "1-0").await.unwrap();
        assert_eq!(
            after_two(&world, id).await,
            [[3, 4, 5, 6, 7], [3, 4, 5, 6, 7]]
        );
        // Its append knows nothing of the field, and a message leaves it as it is.
        let before = world.state(id, "unkeyed").await.unwrap();
        send(&world, id, "newer").await;
        assert_eq!(world.state(id, "unkeyed").await.unwrap(), before);
    })
    .await;
}

#[tokio::test]
async fn two_messages_of_one_number_are_both_readable() {
    in_world(|world| async move {
        let id = stored_ticket(&world, 5).await;
        let twin = doc! {
            "_id": ObjectId::new(), "ticketId": ObjectId::from_bytes(id.bytes()), "seq": 5_i64, "logVersion": 1, "senderId": "u1",
            "senderType": "user", "senderName": "n", "content": "twin", "internal": false,
            "clientMessageId": "twin", "createdAt": DateTime::from_millis(1_000_004),
        };
        world.database.collection("messages").insert_one(twin).await.unwrap();
        assert_eq!(send(&world, id, "c6").await, (6, true));
        assert_eq!(send(&world, id, "new").await, (7, false));
        let [page, missed] = after_two(&world, id).await;
        assert_eq!((page, missed), (vec![3, 4, 5, 5, 6, 7], vec![3, 4, 5, 5, 6, 7]));
        for limit in 1..4 {
            let (mut seen, mut before) = (Vec::new(), None);
            loop {
                let page = Page { after: None, before, limit };
                let page = world.tickets.messages(id, page, &Grant::TEAM).await.unwrap();
                let Some(first) = page.first() else { break };
                before = Some(first.seq);
                seen.splice(0..0, seqs(&page));
            }
            assert_eq!(seen, [2, 3, 4, 5, 5, 6, 7], "pages of {limit}");
            let (mut seen, mut after) = (Vec::new(), 0);
            loop {
                let page = Page { after: Some(after), before: None, limit };
                let page = world.tickets.messages(id, page, &Grant::TEAM).await.unwrap();
                let Some(last) = page.last() else { break };
                after = last.seq;
                seen.extend(seqs(&page));
            }
            assert_eq!(seen, [2, 3, 4, 5, 5, 6, 7], "pages of {limit}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_idempotency_key_is_not_taken_for_new_while_mongodb_is_away() {
    in_world(|world| async move {
        let away = world.without_mongo();
        let (base, head) = parts("s");
        let id = Id::of_ticket("", "known perhaps");
        let refused = away.open(id, &base, &head, None, true, &Grant::TEAM).await;
        assert!(matches!(
            refused,
            Err(Error::Unavailable { part: "mongo", .. })
        ));
        let fresh = Id::fresh().unwrap();
        let opened = away
            .open(fresh, &base, &head, None, false, &Grant::TEAM)
            .await;
        assert!(matches!(opened, Ok(Opened::New(_))));
    })
    .await;
}

#[tokio::test]
async fn a_lost_message_may_be_sent_again() {
    in_world(|world| async move {
        let id = opened(&world).await.id;
        for content in ["a", "b", "c"] {
            send(&world, id, content).await;
        }
        // As a worker leaves a ticket of which it found the rest lost.
        delete(&world, id, &["log", "stream"]).await;
        let _: i64 = world
            .redis
            .hset(world.keys.state(id), ("persisted", "4"))
            .await
            .unwrap();
        assert_eq!(send(&world, id, "b").await, (5, false));
        assert_eq!(send(&world, id, "b").await, (5, true));
    })
    .await;
}
