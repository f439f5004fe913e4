//! What the former server wrote, and what people put into a database by hand.

use mongodb::bson::{Bson, Document, doc};
use ticket_gateway::{
    access::Grant,
    store::{Edge, Store},
    ticket::view::Which,
};
use ticket_shared::{
    domain::{Counts, Ticket},
    id::Id,
};

use super::{date, id, insert, message, oid, seqs, with_store};

/// Tickets of every kind, some in the same millisecond.
fn odd_tickets() -> Vec<Document> {
    let mut tickets = vec![
        doc! { "_id": oid(id(100, 1)), "status": "open", "createdAt": date(500_000) },
        doc! { "_id": oid(id(100, 2)), "status": "closed", "createdAt": date(500_000), "assignedAgent": null },
        doc! { "_id": id(100, 3).to_string(), "createdAt": date(500_000), "assignedAgent": {} },
        doc! { "_id": oid(id(100, 4)), "status": "waiting", "createdAt": "1970-01-01T00:08:20.000Z" },
        // Created by the second of their ids.
        doc! { "_id": oid(id(500, 5)), "status": "pending", "assignedAgent": { "agentId": "a" } },
        doc! { "_id": id(500, 6).to_string(), "status": 5, "assignedAgent": "a" },
        doc! { "_id": oid(id(600, 7)), "createdAt": null, "assignedAgent": oid(id(1, 1)) },
        doc! { "_id": oid(id(400, 8)), "createdAt": "gibberish", "assignedAgent": { "id": "a", "name": "A" } },
        doc! { "_id": oid(id(450, 9)), "createdAt": {}, "assignedAgent": "" },
        doc! { "_id": oid(id(1, 10)), "createdAt": date(i64::from(u32::MAX) * 1_000), "assignedAgent": { "agentId": null } },
        doc! { "_id": oid(id(1, 11)), "createdAt": 450.0, "assignedAgent": { "agentId": "", "id": "x" } },
        doc! { "_id": oid(id(1, 12)), "createdAt": date(-5), "assignedAgent": 7, "status": ["open"] },
        doc! { "_id": id(300, 13).to_string().to_uppercase(), "status": " Closed" },
        // Beyond what can be shown, but not beyond what every server takes: cut to it, in order of their ids.
        doc! { "_id": oid(id(2, 14)), "createdAt": date(253_402_300_799_999), "status": "PENDING" },
        doc! { "_id": oid(id(3, 15)), "createdAt": date(253_402_300_799_998) },
        doc! { "_id": oid(id(2, 16)), "createdAt": date(-62_135_596_800_000) },
    ];
    for n in 20..30 {
        tickets.push(
            doc! { "_id": oid(id(7, n)), "createdAt": date(i64::from(n)), "status": "closed" },
        );
    }
    tickets
}

pub(super) async fn pages(store: &Store, excluding: &[Id], limit: usize) -> Vec<Ticket> {
    let mut tickets: Vec<Ticket> = Vec::new();
    loop {
        let after = tickets.last().map(|last| (last.created_at.0, last.id));
        let page = store
            .tickets(after, excluding, limit, &Grant::TEAM)
            .await
            .unwrap();
        if page.is_empty() {
            return tickets;
        }
        assert!(page.len() <= limit);
        tickets.extend(page);
    }
}

#[tokio::test]
async fn tickets_of_the_former_server_are_listed_once_and_in_order() {
    with_store(|database, store| async move {
        let documents = odd_tickets();
        let expected = documents.len();
        insert(&database, "tickets", documents).await;
        // Nobody can address these, and no list may fail over them.
        let lost = [
            doc! { "_id": 5 },
            doc! { "_id": "not an id", "createdAt": date(500_000) },
            doc! { "_id": "0123456789abcdefABCDEF00", "createdAt": date(500_000) },
        ];
        insert(&database, "tickets", lost).await;

        let whole = store.tickets(None, &[], 100, &Grant::TEAM).await.unwrap();
        assert_eq!(whole.len(), expected);
        assert!(whole.is_sorted_by_key(|ticket| std::cmp::Reverse((ticket.created_at, ticket.id))));
        assert_eq!(whole[0].id, id(3, 15));
        assert_eq!(whole[3].id, id(600, 7));
        assert_eq!(
            whole[4..10]
                .iter()
                .map(|ticket| ticket.created_at.0)
                .collect::<Vec<_>>(),
            [500_000; 6]
        );
        for limit in [1, 2, 3, 7] {
            assert_eq!(pages(&store, &[], limit).await, whole, "pages of {limit}");
        }

        let hidden = [id(500, 6), id(600, 7), id(7, 25), id(9, 9)];
        let rest: Vec<_> = whole
            .iter()
            .filter(|ticket| !hidden.contains(&ticket.id))
            .cloned()
            .collect();
        assert_eq!(pages(&store, &hidden, 3).await, rest);
    })
    .await;
}

#[tokio::test]
async fn counts_agree_with_what_is_listed() {
    with_store(|database, store| async move {
        insert(&database, "tickets", odd_tickets()).await;
        let lost = doc! { "_id": "TKT-1", "status": "open" };
        insert(&database, "tickets", [lost]).await;
        let hidden = [id(500, 6), id(600, 7), id(7, 25)];
        for excluding in [&hidden[..], &[]] {
            let mut counts = Counts::default();
            for ticket in store
                .tickets(None, excluding, 100, &Grant::TEAM)
                .await
                .unwrap()
            {
                counts.add(ticket.status, ticket.assigned_agent.is_some(), 1);
            }
            assert_eq!(store.counts(excluding).await.unwrap(), counts);
        }
    })
    .await;
}

#[tokio::test]
async fn messages_of_the_former_server_keep_their_rank() {
    with_store(|database, store| async move {
        let ticket = id(1_700_000_000, 1);
        let old = |n: u8, ticket: Bson, at: Bson, content: Bson| {
            doc! {
                "_id": oid(id(5, n)), "ticketId": ticket, "senderId": "u",
                "createdAt": at, "content": content,
            }
        };
        insert(
            &database,
            "messages",
            [
                old(1, oid(ticket).into(), date(9_000).into(), "last".into()),
                old(
                    2,
                    ticket.to_string().into(),
                    "1970-01-01T00:00:07Z".into(),
                    "third".into(),
                ),
                old(3, oid(ticket).into(), date(6_000).into(), Bson::Int32(5)),
                old(4, oid(ticket).into(), Bson::Null, "first".into()),
                old(
                    5,
                    oid(id(1, 1)).into(),
                    Bson::Null,
                    "of another ticket".into(),
                ),
            ],
        )
        .await;
        let read = async |upto| {
            let mut messages = store.unnumbered(ticket, upto).await.unwrap();
            let all = (0..messages.messages.len()).collect();
            store.complete(ticket, &mut messages, all).await.unwrap();
            let messages = messages.messages.iter();
            messages
                .map(|message| (message.seq, message.content.clone()))
                .collect::<Vec<_>>()
        };
        let content = ["first", "", "third", "last"].map(str::to_owned);
        let expected: Vec<_> = (2..).zip(content).collect();
        assert_eq!(read(None).await, expected);
        assert_eq!(
            store
                .messages(ticket, (None, None), 50, Edge::Oldest, Which::Messages)
                .await
                .unwrap(),
            []
        );

        // Half of them numbered, as int32 and double, and the log has gone on.
        let messages = database.collection::<Document>("messages");
        for (n, seq) in [(2, Bson::Double(4.0)), (3, Bson::Int32(3))] {
            let set = doc! { "$set": { "seq": seq, "logVersion": 1 } };
            messages
                .update_one(doc! { "_id": oid(id(5, n)) }, set)
                .await
                .unwrap();
        }
        insert(&database, "messages", [message(ticket, 6, Some("c"))]).await;
        assert_eq!(read(Some(5)).await, expected);
        let numbered = store
            .messages(ticket, (None, None), 50, Edge::Newest, Which::Messages)
            .await
            .unwrap();
        assert_eq!(seqs(&numbered), [3, 4, 6]);
        assert_eq!(store.client_ids(ticket).await.unwrap(), [(id(6, 1), 6)]);
    })
    .await;
}

#[tokio::test]
async fn a_text_id_is_found_in_either_case_and_a_twin_is_one_ticket() {
    with_store(|database, store| async move {
        let [lower, upper, twin] = [id(0xabcd_ef00, 1), id(0xabcd_ef00, 2), id(0xabcd_ef00, 3)];
        insert(
            &database,
            "tickets",
            [
                doc! { "_id": lower.to_string(), "userId": "u1" },
                doc! { "_id": upper.to_string().to_uppercase(), "userId": "u2" },
                doc! { "_id": twin.to_string(), "userId": "u3", "status": "pending" },
                doc! { "_id": oid(twin), "status": "closed" },
            ],
        )
        .await;
        for (ticket, user) in [(lower, "u1"), (upper, "u2"), (twin, "u3")] {
            let stored = store.ticket(ticket).await.unwrap().unwrap();
            assert_eq!(stored.base.user_id.as_deref(), Some(user));
        }
        let stored = store.ticket(twin).await.unwrap().unwrap();
        assert_eq!(stored.head.status, ticket_shared::domain::Status::Closed);
    })
    .await;
}

#[tokio::test]
async fn numbers_of_another_server_are_none_and_its_notes_reach_no_customer() {
    with_store(|database, store| async move {
        let ticket = id(1_700_000_000, 1);
        insert(
            &database,
            "tickets",
            [doc! { "_id": oid(ticket), "seq": 1_042, "messageCount": 4 }],
        )
        .await;
        assert!(!store.ticket(ticket).await.unwrap().unwrap().numbered);
        let notes = [
            doc! {},
            doc! { "isInternal": true },
            doc! { "isInternalNote": "true" },
            doc! { "internal": 1 },
            doc! { "visibility": "Internal" },
            doc! { "isPublic": false },
            doc! { "internal": false, "isPublic": true, "type": "message" },
            doc! { "private": "FALSE", "isInternal": null },
        ];
        let documents = notes.iter().zip(0_u8..).map(|(note, n)| {
            let mut document = note.clone();
            document.extend(doc! {
                "_id": oid(id(5, n)), "ticketId": oid(ticket), "seq": i32::from(n),
                "createdAt": date(i64::from(n) * 1_000), "content": n.to_string(),
            });
            document
        });
        insert(&database, "messages", documents).await;
        insert(
            &database,
            "messages",
            [
                doc! { "_id": oid(id(6, 1)), "ticketId": oid(ticket), "deletedAt": date(5) },
                doc! { "_id": "a-uuid", "ticketId": oid(ticket), "createdAt": date(99_000) },
            ],
        )
        .await;
        let found = store.unnumbered(ticket, None).await.unwrap();
        assert_eq!(seqs(&found.messages), (2..=10).collect::<Vec<_>>());
        assert_eq!(found.legacy.len(), 1);
        let public = |message: &&ticket_shared::domain::Message| !message.internal;
        let expected: Vec<u64> = found
            .messages
            .iter()
            .filter(public)
            .map(|each| each.seq)
            .collect();
        assert_eq!(expected, [2, 8, 9, 10]);

        // Numbered as the worker does it, they are the same for a query.
        let messages = database.collection::<Document>("messages");
        for n in 0..8_u8 {
            let set = doc! { "$set": { "seq": i64::from(n) + 2, "logVersion": 1 } };
            let of = doc! { "_id": oid(id(5, n)) };
            messages.update_one(of, set).await.unwrap();
        }
        let page = store.messages(ticket, (None, None), 50, Edge::Oldest, Which::Public);
        assert_eq!(seqs(&page.await.unwrap()), [2, 8, 9]);
    })
    .await;
}
