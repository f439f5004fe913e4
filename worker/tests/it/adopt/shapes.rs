//! The shapes of databases that are understood.

use mongodb::bson::{Document, doc};
use ticket_shared::lifecycle::Lifecycle;

use super::{adopt, all, at, lost_nothing, plain, plain_ticket, renamed, text, three, with};
use crate::{harness::World, inspect::oid, sample::id};

/// One way in which another server keeps tickets: a mapping, and what a ticket with three messages looks like, of which
/// the second is for agents only.
struct Shape {
    name: &'static str,
    mapping: &'static str,
    ticket: fn(u32) -> Document,
    messages: fn(u32) -> Vec<Document>,
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
        // Without `$ref`: the MongoDB stand-in builds no index over a complete reference.
        shape!("references", "ticketId = \"ticketId\"", plain_ticket, |n| {
            three(|p| with(plain(n, p), "ticketId", doc! { "$id": oid(id(n, 1)) }))
        }),
        shape!("populated", "", plain_ticket, |n| {
            three(|p| {
                with(
                    plain(n, p),
                    "ticketId",
                    doc! { "_id": oid(id(n, 1)), "subject": "s" },
                )
            })
        }),
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
