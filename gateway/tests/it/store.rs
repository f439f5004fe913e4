//! Reading MongoDB: documents of the worker, documents of the former server, and no server at all.
//!
//! The server is the one of `MONGO_URI`; every test has a database of its own there.

#![expect(
    clippy::unwrap_used,
    reason = "what sets a test up may panic like the test itself"
)]

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures::FutureExt;
use mongodb::{
    Client, Database,
    bson::{DateTime, Document, doc, oid::ObjectId},
};
use ticket_gateway::{
    access::Grant,
    store::{Edge, Store, StoreError, Unreachable},
    ticket::view::Which,
};
use ticket_shared::{config::Secret, domain::Counts, id::Id, lifecycle::Lifecycle};

mod dates;
mod former;

const DEADLINE: Duration = Duration::from_secs(10);

/// Runs a test on a database of its own, and drops the database also where the test fails.
async fn with_store<F: Future<Output = ()>>(test: impl FnOnce(Database, Store) -> F) {
    let uri = std::env::var("MONGO_URI")
        .expect("MONGO_URI must name the MongoDB server that the tests may use");
    let name = format!("test-store-{}", ObjectId::new().to_hex());
    let (scheme, rest) = uri.split_once("://").expect("MONGO_URI is a URI");
    let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
    let hosts = place.split('/').next().unwrap_or(place);
    let uri = format!("{scheme}://{hosts}/{name}?{options}");

    let life = Lifecycle::default();
    let client = Client::with_uri_str(&uri).await.unwrap();
    let database = client.database(&name);
    let store = Store::new(&Secret::new(uri), life.clone(), DEADLINE).unwrap();
    let outcome = AssertUnwindSafe(test(database.clone(), store))
        .catch_unwind()
        .await;
    database.drop().await.unwrap();
    assert!(
        life.shutdown(DEADLINE).await,
        "an operation is still running"
    );
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

async fn insert(
    database: &Database,
    collection: &str,
    documents: impl IntoIterator<Item = Document>,
) {
    let collection = database.collection::<Document>(collection);
    collection.insert_many(documents).await.unwrap();
}

/// An id made in this second after 1970, told from others by `n`.
fn id(second: u32, n: u8) -> Id {
    let mut bytes = [n; 12];
    bytes[..4].copy_from_slice(&second.to_be_bytes());
    Id::from_bytes(bytes)
}

fn oid(id: Id) -> ObjectId {
    ObjectId::from_bytes(id.bytes())
}

fn date(ms: i64) -> DateTime {
    DateTime::from_millis(ms)
}

/// A message as the worker writes it.
fn message(ticket: Id, seq: u32, client_message_id: Option<&str>) -> Document {
    doc! {
        "_id": oid(id(seq, 1)), "ticketId": oid(ticket), "seq": i64::from(seq), "senderId": "u1",
        "senderType": "agent", "senderName": "U", "content": format!("m{seq}"),
        "internal": seq.is_multiple_of(2),
        "clientMessageId": client_message_id, "createdAt": date(i64::from(seq) * 1_000),
        "logVersion": 1,
    }
}

fn seqs(messages: &[ticket_shared::domain::Message]) -> Vec<u64> {
    messages.iter().map(|message| message.seq).collect()
}

#[tokio::test]
async fn what_the_worker_wrote_is_read_back() {
    with_store(|database, store| async move {
        store.ping().await.unwrap();
        let ticket = id(1_700_000_000, 1);
        assert_eq!(store.ticket(ticket).await.unwrap(), None);
        assert_eq!(store.message(ticket).await.unwrap(), None);
        assert_eq!(store.tickets(None, &[], 50, &Grant::TEAM).await.unwrap(), []);
        assert_eq!(store.counts(&[]).await.unwrap(), Counts::default());
        insert(&database, "tickets", [doc! {
            "_id": oid(ticket), "subject": "s", "description": "d", "status": "pending", "priority": "urgent",
            "tags": ["a"], "userId": "u1", "userName": "U",
        "assignedAgent": { "agentId": "a1", "agentName": "A" },
            "logVersion": 1, "seq": 12_i64, "publicSeq": 11_i64, "messageCount": 5_i64, "lastMessage": null,
            "createdAt": date(1_700_000_000_001), "updatedAt": date(1_700_000_000_002), "closedAt": null,
        }])
        .await;
        let messages = [message(ticket, 2, Some("c2")), message(ticket, 3, None)];
        insert(&database, "messages", messages).await;

        let stored = store.ticket(ticket).await.unwrap().unwrap();
        assert!(stored.numbered);
        assert_eq!((stored.numbers.seq, stored.numbers.public_seq), (12, 11));
        assert_eq!(stored.base.created_at, 1_700_000_000_001);
        assert_eq!(stored.head.agent_name.as_deref(), Some("A"));
        let listed = store.tickets(None, &[], 50, &Grant::TEAM).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].id, listed[0].message_count), (ticket, 5));
        let second = store.message(id(2, 1)).await.unwrap().unwrap();
        assert_eq!((second.ticket_id, second.seq, second.internal), (ticket, 2, true));
        assert_eq!(second.client_message_id.as_deref(), Some("c2"));
        assert_eq!(store.client_ids(ticket).await.unwrap(), [(id(2, 1), 2)]);
    })
    .await;
}

#[tokio::test]
async fn pages_of_messages_come_from_either_edge() {
    with_store(|database, store| async move {
        let ticket = id(1_700_000_000, 1);
        // A hole in the middle stands for a time in which only the status changed.
        let numbers = || (2..40).chain(160..200);
        insert(
            &database,
            "messages",
            numbers().map(|seq| message(ticket, seq, None)),
        )
        .await;
        insert(
            &database,
            "messages",
            (300..310).map(|seq| message(id(1, 9), seq, None)),
        )
        .await;
        let all: Vec<u64> = numbers().map(u64::from).collect();
        for limit in [1, 7, 38, 50, 200] {
            for after in [
                None,
                Some(0),
                Some(10),
                Some(39),
                Some(100),
                Some(199),
                Some(u64::MAX),
            ] {
                for before in [
                    None,
                    Some(0),
                    Some(2),
                    Some(35),
                    Some(161),
                    Some(200),
                    Some(u64::MAX),
                ] {
                    let within: Vec<u64> = all
                        .iter()
                        .copied()
                        .filter(|seq| after.is_none_or(|after| *seq > after))
                        .filter(|seq| before.is_none_or(|before| *seq < before))
                        .collect();
                    let size = limit.min(within.len());
                    let what = format!("{after:?} {before:?} {limit}");
                    let oldest = store.messages(
                        ticket,
                        (after, before),
                        limit,
                        Edge::Oldest,
                        Which::Messages,
                    );
                    assert_eq!(
                        seqs(&oldest.await.unwrap()),
                        within[..size],
                        "oldest {what}"
                    );
                    let newest = store.messages(
                        ticket,
                        (after, before),
                        limit,
                        Edge::Newest,
                        Which::Messages,
                    );
                    let expected = &within[within.len() - size..];
                    assert_eq!(seqs(&newest.await.unwrap()), expected, "newest {what}");
                }
            }
        }
        assert_eq!(
            store
                .messages(ticket, (None, None), 0, Edge::Oldest, Which::Messages)
                .await
                .unwrap(),
            []
        );
    })
    .await;
}

#[tokio::test]
async fn a_message_of_no_ticket_is_malformed() {
    with_store(|database, store| async move {
        insert(
            &database,
            "messages",
            [doc! { "_id": oid(id(5, 1)), "ticketId": 5 }],
        )
        .await;
        let error = store.message(id(5, 1)).await.unwrap_err();
        assert!(matches!(error, StoreError::Malformed { .. }), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable_within_the_deadline() {
    // One that refuses connections, and one that accepts them and never says a word.
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |listener: &std::net::TcpListener| listener.local_addr().unwrap().port();
    let ports = [port(&refused), port(&silent)];
    drop(refused);
    let life = Lifecycle::default();
    for port in ports {
        let uri = Secret::new(format!("mongodb://127.0.0.1:{port}/tickets"));
        let deadline = Duration::from_millis(300);
        let store = Store::new(&uri, life.clone(), deadline).unwrap();
        let started = Instant::now();
        // More at once than there are slots: waiting for one counts, too.
        let reads = (0..100).map(|_| store.ticket(id(1, 1)));
        for outcome in futures::future::join_all(reads).await {
            let error = outcome.unwrap_err();
            assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
        }
        assert!(started.elapsed() < deadline * 3, "{:?}", started.elapsed());
    }
    let uri = Secret::new(format!("mongodb://127.0.0.1:{}/tickets", ports[1]));
    let store = Store::new(&uri, life.clone(), DEADLINE).unwrap();
    let (ping, clean) = tokio::join!(store.ping(), life.shutdown(Duration::ZERO));
    assert!(!clean, "the ping was running");
    assert!(
        matches!(ping, Err(StoreError::Unreachable(Unreachable::Stopping))),
        "{ping:?}"
    );
}

#[tokio::test]
async fn a_uri_that_is_wrong_is_named_without_its_password() {
    for uri in [
        "",
        "localhost:27017/tickets",
        "http://localhost/tickets",
        "mongodb://localhost:27017/tickets?socketTimeoutMS=5",
        "mongodb://root:hunter2@@localhost/tickets",
        "mongodb://root:hunter2/x@localhost:27017/tickets",
        "mongodb://root:hunter2@localhost:port/tickets",
    ] {
        let error = Store::new(&Secret::new(uri), Lifecycle::default(), DEADLINE).unwrap_err();
        assert_eq!(error.setting, "MONGO_URI");
        assert!(!error.problem.contains("hunter2"), "{error}");
    }
}
