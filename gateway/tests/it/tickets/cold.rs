//! What is older than Redis' part of a log: reading back, warming, numbering.

use futures::future::join_all;
use mongodb::bson::{DateTime, doc, oid::ObjectId};
use ticket_gateway::{
    access::Grant,
    ticket::{
        page::Page,
        view::{Part, Which},
    },
};
use ticket_shared::{id::Id, stream::Change as Happened};

use super::{latest, stored_ticket};
use crate::world::{World, in_world, message};

#[tokio::test]
async fn pages_come_from_the_log_and_from_mongodb_without_a_seam() {
    in_world(|world| async move {
        let id = stored_ticket(&world, 400).await;
        for i in 402..=410 {
            let (sent, _) = world
                .tickets
                .send(id, message(id, &format!("m{i}"), None), &Grant::TEAM)
                .await
                .unwrap();
            assert_eq!(sent.seq, i);
        }
        let mut seen = Vec::new();
        let mut before = None;
        loop {
            let page = world
                .tickets
                .messages(
                    id,
                    Page {
                        after: None,
                        before,
                        limit: 70,
                    },
                    &Grant::TEAM,
                )
                .await
                .unwrap();
            let Some(first) = page.first() else { break };
            before = Some(first.seq);
            seen.splice(0..0, page.iter().map(|message| message.seq));
        }
        assert_eq!(seen, (2..=410).collect::<Vec<_>>());
        let (mut seen, mut after) = (Vec::new(), 0);
        loop {
            let page = world
                .tickets
                .messages(
                    id,
                    Page {
                        after: Some(after),
                        before: None,
                        limit: 64,
                    },
                    &Grant::TEAM,
                )
                .await
                .unwrap();
            let Some(last) = page.last() else { break };
            after = last.seq;
            seen.extend(page.iter().map(|message| message.seq));
        }
        assert_eq!(seen, (2..=410).collect::<Vec<_>>());
        let between = Page {
            after: Some(90),
            before: Some(110),
            limit: 50,
        };
        let page = world
            .tickets
            .messages(id, between, &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!(
            page.iter().map(|m| m.seq).collect::<Vec<_>>(),
            (91..110).collect::<Vec<_>>()
        );
    })
    .await;
}

#[tokio::test]
async fn a_ticket_that_left_redis_goes_on_where_it_was_and_knows_its_repeats() {
    in_world(|world| async move {
        let id = stored_ticket(&world, 350).await;
        // Seq 10 is far below what the live log begins with.
        let (first, repeated) = world
            .tickets
            .send(id, message(id, "again", Some("c10")), &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!(
            (first.seq, first.content.as_str(), repeated),
            (10, "m10", true)
        );
        let (next, repeated) = world
            .tickets
            .send(id, message(id, "new", Some("c-new")), &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!((next.seq, repeated), (352, false));
        assert_eq!(
            world.owed(id).await.len(),
            1,
            "what is in MongoDB is not owed again"
        );
        let view = world
            .tickets
            .read(id, Part::newest(300, Which::All))
            .await
            .unwrap();
        assert_eq!((view.persisted, view.entries.len()), (351, 300));
        assert_eq!(view.numbers.message_count, 351);
    })
    .await;
}

#[tokio::test]
async fn a_cold_ticket_is_read_without_being_brought_back() {
    in_world(|world| async move {
        let id = stored_ticket(&world, 3).await;
        assert_eq!(world.tickets.ticket(id, &Grant::TEAM).await.unwrap().seq, 4);
        let page = world
            .tickets
            .messages(id, latest(2), &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!(page.iter().map(|m| m.seq).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(world.state(id, "seq").await, None);
    })
    .await;
}

#[tokio::test]
async fn tickets_of_the_former_server_are_numbered_once_by_all_who_ask() {
    in_world(|world| async move {
        let id = former_ticket(&world, 1_205).await;
        let reads = (0..6).map(|_| world.tickets.messages(id, latest(200), &Grant::TEAM));
        let pages: Vec<_> = join_all(reads)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert!(pages.iter().all(|page| page == &pages[0]));
        assert_eq!(pages[0].last().unwrap().seq, 1_206);
        let old = Page {
            after: Some(0),
            before: None,
            limit: 5,
        };
        let page = world.tickets.messages(id, old, &Grant::TEAM).await.unwrap();
        let shown: Vec<_> = page.iter().map(|m| (m.seq, m.content.as_str())).collect();
        assert_eq!(
            shown,
            [(2, "m0"), (3, "m1"), (4, "m2"), (5, "m3"), (6, "m4")]
        );
        let (sent, _) = world
            .tickets
            .send(id, message(id, "new", None), &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!(sent.seq, 1_207);
        let owed = world.owed(id).await;
        let covered: Vec<_> = owed
            .iter()
            .map(ticket_shared::stream::Entry::covers)
            .collect();
        assert_eq!(covered, [(1, 1_001), (1_002, 1_206), (1_207, 1_207)]);
        let Happened::Adopted { messages, .. } = &owed[0].change else {
            panic!()
        };
        assert_eq!(messages.len(), 1_000);
    })
    .await;
}

/// A ticket as the former server left it.
async fn former_ticket(world: &World, messages: i64) -> Id {
    let id = Id::fresh().unwrap();
    let oid = ObjectId::from_bytes(id.bytes());
    let ticket = doc! { "_id": oid, "title": "t", "status": "pending", "createdAt": DateTime::from_millis(1_000) };
    world
        .database
        .collection("tickets")
        .insert_one(ticket)
        .await
        .unwrap();
    let documents = (0..messages).rev().map(|i| {
        let ticket: mongodb::bson::Bson = if i % 2 == 0 {
            oid.into()
        } else {
            id.to_string().into()
        };
        doc! {
            "ticketId": ticket, "senderId": "u1", "senderType": "user", "senderName": "س",
            "content": format!("m{i}"), "createdAt": DateTime::from_millis(2_000 + i),
        }
    });
    world
        .database
        .collection("messages")
        .insert_many(documents)
        .await
        .unwrap();
    id
}
