//! Databases of other servers, taken over: nothing is lost, and everything is where the product looks for it.

use std::{io::Write as _, time::Duration};

use futures::TryStreamExt;
use mongodb::bson::{Bson, DateTime, Document, doc, oid::ObjectId};
use ticket_shared::{id::Id, lifecycle::Lifecycle};

use crate::{
    harness::World,
    inspect::oid,
    sample::{Log, id},
};

/// One way in which another server keeps tickets: a mapping, and what a ticket with three messages looks like, of which
/// the second is for agents only.
struct Shape {
    name: &'static str,
    mapping: &'static str,
    ticket: fn(u32) -> Document,
    messages: fn(u32) -> Vec<Document>,
}

fn plain_ticket(n: u32) -> Document {
    doc! { "_id": oid(id(n, 1)), "subject": "s", "status": "Open", "own": { "field": n } }
}

fn plain(n: u32, place: u32) -> Document {
    doc! {
        "_id": oid(id(n, 10 + place)), "ticketId": oid(id(n, 1)), "senderId": "u", "content": text(place),
        "internal": place == 1, "createdAt": at(place), "own": place,
    }
}

fn text(place: u32) -> String {
    format!("message {place}")
}

fn at(place: u32) -> DateTime {
    DateTime::from_millis(1_683_280_800_000 + i64::from(place) * 1_000)
}

fn three(of: impl Fn(u32) -> Document) -> Vec<Document> {
    (0..3).map(of).collect()
}

/// A document with one of its fields under another name.
fn renamed(mut document: Document, from: &str, to: &str) -> Document {
    if let Some(value) = document.remove(from) {
        document.insert(to, value);
    }
    document
}

/// A document with another value in one of its fields.
fn with(mut document: Document, field: &str, value: impl Into<Bson>) -> Document {
    document.insert(field, value);
    document
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn shapes() -> Vec<Shape> {
    macro_rules! shape {
        ($name:literal, $mapping:literal, $ticket:expr, $messages:expr) => {
            Shape {
                name: $name,
                mapping: $mapping,
                ticket: $ticket,
                messages: $messages,
            }
        };
    }
    vec![
        shape!("as ours", "", plain_ticket, |n| three(|p| plain(n, p))),
        shape!("message", "content = \"message\"", plain_ticket, |n| three(
            |p| renamed(plain(n, p), "content", "message")
        )),
        shape!(
            "text",
            "content = [\"text\", \"body\"]",
            plain_ticket,
            |n| {
                three(|p| renamed(plain(n, p), "content", if p == 0 { "body" } else { "text" }))
            }
        ),
        shape!("ticket", "ticketId = \"ticket\"", plain_ticket, |n| three(
            |p| renamed(plain(n, p), "ticketId", "ticket")
        )),
        shape!("tid", "ticketId = \"tid\"", plain_ticket, |n| three(|p| {
            with(
                renamed(plain(n, p), "ticketId", "tid"),
                "tid",
                id(n, 1).to_string(),
            )
        })),
        shape!("from", "senderId = \"from._id\"", plain_ticket, |n| three(
            |p| with(plain(n, p), "from", doc! { "_id": 7, "name": "U" })
        )),
        shape!("date", "createdAt = \"date\"", plain_ticket, |n| three(
            |p| with(
                renamed(plain(n, p), "createdAt", "date"),
                "date",
                format!("2023-05-05 10:00:0{p}"),
            )
        )),
        shape!(
            "queryTitle",
            "subject = \"queryTitle\"",
            |n| renamed(plain_ticket(n), "subject", "queryTitle"),
            |n| three(|p| plain(n, p))
        ),
        shape!(
            "comments",
            "[embedded.comments]\ncontent = \"text\"\n",
            |n| {
                let comments = three(|p| {
                    doc! { "text": text(p), "isInternal": p == 1, "createdAt": at(p) }
                });
                with(plain_ticket(n), "comments", comments)
            },
            |_| Vec::new()
        ),
        shape!(
            "notes",
            "[embedded.notes]\ninternal = true\n",
            |n| with(
                plain_ticket(n),
                "notes",
                vec![doc! { "content": text(1), "createdAt": at(1) }]
            ),
            |n| vec![plain(n, 0), plain(n, 2)]
        ),
        shape!(
            "text ids",
            "",
            |n| with(plain_ticket(n), "_id", id(n, 1).to_string().to_uppercase()),
            |n| three(|p| with(plain(n, p), "ticketId", id(n, 1).to_string().to_uppercase()))
        ),
        shape!(
            "numbers of another server",
            "",
            |n| with(plain_ticket(n), "seq", 1_042),
            |n| three(|p| with(plain(n, p), "seq", p))
        ),
        shape!(
            "words",
            "status.resolved = \"closed\"\nsenderType.ADMIN = \"agent\"\ninternal = \"hidden\"",
            |n| with(plain_ticket(n), "status", "Resolved"),
            |n| three(|p| with(
                renamed(plain(n, p), "internal", "hidden"),
                "senderType",
                "ADMIN"
            ))
        ),
        shape!("uuids", "", plain_ticket, |n| three(|p| with(
            plain(n, p),
            "_id",
            format!("uuid-{n}-{p}")
        ))),
        shape!(
            "TKT-1",
            "",
            |n| with(plain_ticket(n), "_id", format!("TKT-{n}")),
            |n| three(|p| with(plain(n, p), "ticketId", format!("TKT-{n}")))
        ),
    ]
}

async fn all(world: &World, collection: &str) -> Vec<Document> {
    let collection = world.db.collection::<Document>(collection);
    let found = collection.find(doc! {}).sort(doc! { "seq": 1 }).await;
    found.expect("find").try_collect().await.expect("find")
}

/// Adopts; says whether it came to its end.
async fn adopt(world: &World, mapping: &str, more: &[&str], life: Lifecycle) -> bool {
    let path = std::env::temp_dir().join(format!("{}.toml", world.db.name()));
    let mut file = std::fs::File::create(&path).expect("a file");
    file.write_all(mapping.as_bytes()).expect("a file");
    let path_text = path.display().to_string();
    let mut args = vec!["adopt", "--map", &path_text];
    args.extend(more);
    let done = ticket_worker::run(&world.config("a1", &args), life).await;
    std::fs::remove_file(path).expect("a file");
    match done {
        Ok(()) => true,
        Err(ticket_worker::Error::Adopt(ticket_worker::AdoptError::Stopped)) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Every field that was there is there, or is kept.
fn lost_nothing(shape: &str, old: &Document, new: &Document) {
    for (field, value) in old {
        let kept = new
            .get_document("legacy")
            .ok()
            .and_then(|kept| kept.get(field));
        let same = new.get(field) == Some(value) || kept == Some(value);
        // The same id in another form.
        let reference = field == "ticketId" && new.get_object_id(field).is_ok();
        assert!(
            same || reference,
            "{shape}: {field} of {old} is lost in {new}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shape_is_taken_over_and_nothing_is_lost() {
    for shape in shapes() {
        let world = World::new().await;
        let numbers: Vec<u32> = (1..=4).collect();
        let tickets: Vec<Document> = numbers.iter().map(|n| (shape.ticket)(*n)).collect();
        let messages: Vec<Document> = numbers.iter().flat_map(|n| (shape.messages)(*n)).collect();
        let collection = world.db.collection::<Document>("tickets");
        collection.insert_many(&tickets).await.unwrap();
        if !messages.is_empty() {
            let collection = world.db.collection::<Document>("messages");
            collection.insert_many(&messages).await.unwrap();
        }
        let before = world.everything().await;
        let fast = ["--rate", "1000000"];
        assert!(adopt(&world, shape.mapping, &["--dry-run"], Lifecycle::default()).await);
        assert_eq!(world.everything().await, before, "{}", shape.name);

        assert!(adopt(&world, shape.mapping, &fast, Lifecycle::default()).await);
        let (found, said) = (all(&world, "tickets").await, all(&world, "messages").await);
        assert_eq!(found.len(), tickets.len(), "{}", shape.name);
        for new in &found {
            assert_eq!(new["seq"], 4_i64.into(), "{}: {new}", shape.name);
            assert_eq!(new["messageCount"], 2_i64.into(), "{}: {new}", shape.name);
            assert_eq!(new["subject"], "s".into(), "{}", shape.name);
            let of = new.get_object_id("_id").unwrap();
            let said: Vec<&Document> = said
                .iter()
                .filter(|each| each["ticketId"] == of.into())
                .collect();
            let contents: Vec<&str> = said
                .iter()
                .map(|each| each.get_str("content").unwrap())
                .collect();
            assert_eq!(
                contents,
                ["message 0", "message 1", "message 2"],
                "{}",
                shape.name
            );
            let internal: Vec<bool> = said
                .iter()
                .map(|each| each.get_bool("internal").unwrap_or(false))
                .collect();
            assert_eq!(internal, [false, true, false], "{}", shape.name);
        }
        let status = if shape.name == "words" {
            "closed"
        } else {
            "open"
        };
        assert!(
            found.iter().all(|new| new["status"] == status.into()),
            "{}",
            shape.name
        );
        for old in &tickets {
            let own = old.get_document("own").unwrap();
            let new = found
                .iter()
                .find(|new| new.get_document("own").unwrap() == own);
            lost_nothing(shape.name, old, new.unwrap());
        }
        for old in &messages {
            let new = said.iter().find(|new| new["_id"] == old["_id"]);
            lost_nothing(shape.name, old, new.unwrap());
        }

        let after = world.everything().await;
        assert!(adopt(&world, shape.mapping, &fast, Lifecycle::default()).await);
        assert_eq!(world.everything().await, after, "{}: run twice", shape.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adoption_is_ended_and_goes_on_beside_a_worker() {
    let size = |name: &str, normal: u32| {
        std::env::var(name)
            .ok()
            .and_then(|size| size.parse().ok())
            .unwrap_or(normal)
    };
    let (tickets, messages) = (size("ADOPT_TICKETS", 600), size("ADOPT_MESSAGES", 4));
    let world = World::new().await;
    let collection = world.db.collection::<Document>("tickets");
    let said = world.db.collection::<Document>("messages");
    for first in (1..=tickets).step_by(100) {
        let numbers = first..=(first + 99).min(tickets);
        let some: Vec<Document> = numbers.clone().map(plain_ticket).collect();
        collection.insert_many(some).await.unwrap();
        let some: Vec<Document> = numbers
            .flat_map(|n| (0..messages).map(move |p| renamed(plain(n, p), "content", "body")))
            .collect();
        said.insert_many(some).await.unwrap();
    }
    // One is in use, and the worker numbers it as a gateway asked for.
    let mut log = Log::new(id(3, 1));
    let old: Vec<Id> = (0..messages).map(|p| id(3, 10 + p)).collect();
    log.adopted(&old).message("new", false);
    world.append(&log).await;
    let running = world.start("w1", &[]).await;

    let began = tokio::time::Instant::now();
    let life = Lifecycle::default();
    let ending = life.clone();
    life.spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        ending.stopping().cancel();
    });
    let mapping = "content = \"body\"";
    let slow = ["--rate", "1000"];
    assert!(
        !adopt(&world, mapping, &slow, life).await,
        "it was to be ended before its end"
    );
    world.until_drained().await;
    let all = u64::from(tickets) * u64::from(messages) + 1;
    assert!(
        adopt(
            &world,
            mapping,
            &["--rate", "1000000"],
            Lifecycle::default()
        )
        .await
    );
    println!(
        "{tickets} tickets with {messages} messages each in {:?}",
        began.elapsed()
    );
    assert_eq!(world.count("messages").await, all);
    assert_eq!(world.count("tickets").await, u64::from(tickets));
    let numbered =
        doc! { "logVersion": 1, "content": { "$exists": true }, "body": { "$exists": true } };
    assert_eq!(said.count_documents(numbered).await.unwrap(), all - 1);
    let seq = i64::from(messages) + 1;
    let numbered = collection
        .count_documents(doc! { "seq": seq, "logVersion": 1 })
        .await;
    assert_eq!(numbered.unwrap(), u64::from(tickets) - 1);
    let used = world.ticket(log.ticket).await.unwrap();
    assert_eq!(used["seq"], (seq + 1).into());
    world.finish([running]).await;
}

#[tokio::test]
async fn a_text_id_becomes_one_document_and_what_is_replaced_is_kept() {
    let world = World::new().await;
    let mut log = Log::new(id(0xab, 1));
    log.adopted(&[id(8, 1)])
        .status(ticket_shared::domain::Status::Closed);
    let text = log.ticket.to_string();
    let collection = world.db.collection::<Document>("tickets");
    let old = doc! {
        "_id": &text, "status": "Pending", "userId": "u1", "seq": 1_042, "tags": [ObjectId::new()],
        "assignedAgent": { "agentId": "a", "agentName": "A", "mail": "a@b" },
    };
    collection.insert_one(&old).await.unwrap();
    let message = doc! { "_id": id(8, 1).to_string().to_uppercase(), "ticketId": &text, "seq": 0 };
    world
        .db
        .collection("messages")
        .insert_one(message)
        .await
        .unwrap();
    // What an earlier version left behind for another ticket.
    let twin = id(0xcd, 1);
    let twins = [
        doc! { "_id": oid(twin), "status": "closed" },
        doc! { "_id": twin.to_string(), "status": "open", "userId": "u3" },
    ];
    collection.insert_many(twins).await.unwrap();

    world.append(&log).await;
    let running = world.start("w1", &[]).await;
    world.until_drained().await;
    let ticket = world.ticket(log.ticket).await.unwrap();
    assert_eq!(ticket["status"], "closed".into());
    assert_eq!(
        (&ticket["seq"], &ticket["userId"]),
        (&3_i64.into(), &"u1".into())
    );
    for field in ["_id", "status", "seq", "tags", "assignedAgent"] {
        assert_eq!(
            ticket.get_document("legacy").unwrap()[field],
            old[field],
            "{field}"
        );
    }
    let message = world
        .find("messages", doc! { "seq": 2, "logVersion": 1 })
        .await
        .unwrap();
    assert_eq!(message.get_document("legacy").unwrap(), &doc! { "seq": 0 });
    crate::harness::until("each ticket is one document", async || {
        world.count("tickets").await == 2
    })
    .await;
    let merged = world.ticket(twin).await.unwrap();
    assert_eq!(
        (&merged["status"], &merged["userId"]),
        (&"closed".into(), &"u3".into())
    );
    world.finish([running]).await;
}
