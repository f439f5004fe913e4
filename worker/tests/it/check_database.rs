//! `ticket-worker check-database`: what it finds, what it says of it, and that it writes nothing.

use std::process::Output;

use futures::TryStreamExt;
use mongodb::bson::{Bson, DateTime, Document, doc, oid::ObjectId, spec::BinarySubtype};
use serde_json::Value;
use ticket_shared::lifecycle::Lifecycle;
use ticket_testing::OpMsg;

use crate::{adopt::adopt, harness::World, inspect::oid, sample::id};

async fn check(uri: &str, more: &[&str]) -> Output {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_ticket-worker"))
        .env_clear()
        .env("MONGO_URI", uri)
        // It has no use for Redis.
        .env("REDIS_URL", "redis://127.0.0.1:1")
        .arg("check-database")
        .args(more)
        .kill_on_drop(true)
        .output()
        .await
        .expect("the command runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// The findings.
async fn findings(world: &World) -> Vec<Value> {
    let output = check(&world.mongo_uri, &["--json"]).await;
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert_eq!(error, "");
    out.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// That there is a finding of this collection whose name begins so, how many documents it is of, and a part of what is
/// said to come of it.
fn found(all: &[Value], collection: &str, what: &str, count: Option<u64>, then: &str) {
    let is = |finding: &&Value| {
        finding["collection"] == collection
            && finding["what"]
                .as_str()
                .is_some_and(|own| own.starts_with(what))
            && finding["then"]
                .as_str()
                .is_some_and(|own| own.contains(then))
            && finding.get("count").and_then(Value::as_u64) == count
    };
    let shown: Vec<String> = all.iter().map(Value::to_string).collect();
    assert!(
        all.iter().any(|finding| is(&finding)),
        "no {collection} {what} {count:?} {then} in\n{}",
        shown.join("\n")
    );
}

/// Everything in the database: documents, indexes, collections and their options.
async fn everything(world: &World) -> Vec<String> {
    let mut all = Vec::new();
    let mut names = world.db.list_collection_names().await.expect("names");
    names.sort();
    for name in names {
        let collection = world.db.collection::<Document>(&name);
        let indexes = collection.list_index_names().await.expect("indexes");
        let found = collection.find(doc! {}).sort(doc! { "_id": 1 }).await;
        let found: Vec<Document> = found.expect("find").try_collect().await.expect("find");
        all.push(format!("{name} {indexes:?} {found:?}"));
    }
    all
}

async fn insert(world: &World, collection: &str, documents: Vec<Document>) {
    let collection = world.db.collection::<Document>(collection);
    collection.insert_many(documents).await.expect("insert");
}

fn ticket(n: u32, more: Document) -> Document {
    let mut ticket = doc! {
        "_id": oid(id(n, 1)), "subject": "s", "status": "open", "priority": "low", "userId": "u",
        "createdAt": DateTime::from_millis(1_683_280_800_000),
    };
    ticket.extend(more);
    ticket
}

fn message(n: u32, more: Document) -> Document {
    let mut message = doc! {
        "_id": oid(id(n, 9)), "ticketId": oid(id(1, 1)), "content": "c", "senderId": "u",
        "senderName": "U", "senderType": "user", "createdAt": DateTime::from_millis(1_683_280_800_000),
    };
    message.extend(more);
    message
}

#[expect(clippy::too_many_lines, reason = "a table")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_every_kind_are_found_and_nothing_is_written() {
    let world = World::new().await;
    let uuid = Bson::Binary(mongodb::bson::Binary {
        subtype: BinarySubtype::Uuid,
        bytes: vec![7; 16],
    });
    let hex = |n| id(n, 1).to_string();
    insert(
        &world,
        "tickets",
        vec![
            ticket(1, doc! { "logVersion": 1, "seq": 3_i64 }),
            ticket(2, doc! { "_id": hex(2) }),
            ticket(3, doc! { "_id": hex(0xab).to_uppercase() }),
            ticket(4, doc! { "_id": "TKT-1", "status": "Resolved" }),
            ticket(5, doc! { "_id": 5, "status": "CLOSED" }),
            ticket(6, doc! { "_id": uuid }),
            ticket(7, doc! { "seq": 1_042, "priority": "Critical", "comments": [{ "text": "a" }] }),
            ticket(8, doc! { "createdAt": "2023-05-05 10:00", "status": Bson::Null, "notes": ["a"] }),
            ticket(9, doc! { "createdAt": "yesterday", "status": "مغلق" }),
            ticket(10, doc! { "createdAt": 1_683_280_800_i64, "priority": "HIGH" }),
            ticket(11, doc! { "seq": 4_i64, "publicSeq": 4_i64, "publicUpdatedAt": DateTime::from_millis(5) }),
        ],
    )
    .await;
    insert(
        &world,
        "messages",
        vec![
            message(1, doc! { "logVersion": 1, "seq": 2_i64 }),
            message(2, doc! { "logVersion": 1, "seq": 3_i64 }),
            message(3, doc! { "logVersion": 1, "seq": 3_i64 }),
            message(4, doc! { "_id": "uuid-1", "seq": 0, "senderType": "ADMIN" }),
            message(
                5,
                doc! { "_id": 7, "senderType": "bot", "isInternalNote": 1 },
            ),
            message(
                6,
                doc! { "private": "false", "isDeleted": true, "senderType": Bson::Null },
            ),
        ],
    )
    .await;
    let before = everything(&world).await;
    let all = findings(&world).await;
    assert_eq!(everything(&world).await, before);

    found(&all, "tickets", "documents", Some(11), "");
    found(&all, "tickets", "numbered", Some(1), "already");
    found(
        &all,
        "tickets",
        "numbered by an earlier version",
        Some(1),
        "adopt",
    );
    found(&all, "tickets", "seq of another server", Some(1), "legacy");
    found(
        &all,
        "tickets",
        "ids that are texts",
        Some(2),
        "first touch",
    );
    for kind in ["string, such as \"TKT-1\"", "int, such as 5", "binData"] {
        let what = format!("ids that no request can name ({kind}");
        found(&all, "tickets", &what, Some(1), "until adopt");
    }
    found(
        &all,
        "tickets",
        "createdAt of kind string",
        Some(1),
        "understood; a date",
    );
    found(
        &all,
        "tickets",
        "createdAt of kind string",
        Some(1),
        "not understood",
    );
    found(
        &all,
        "tickets",
        "createdAt of kind long",
        Some(1),
        "understood",
    );
    found(&all, "tickets", "status \"CLOSED\"", Some(1), "is closed");
    found(
        &all,
        "tickets",
        "status \"Resolved\"",
        Some(1),
        "map it: status.<word>",
    );
    found(
        &all,
        "tickets",
        "status \"مغلق\"",
        Some(1),
        "not understood, is open",
    );
    found(&all, "tickets", "status null", Some(1), "is open");
    found(&all, "tickets", "priority \"HIGH\"", Some(1), "is high");
    found(
        &all,
        "tickets",
        "priority \"Critical\"",
        Some(1),
        "not understood, is normal",
    );
    found(
        &all,
        "tickets",
        "field comments, in a sample",
        Some(1),
        "may hold messages",
    );
    found(
        &all,
        "tickets",
        "field notes, in a sample",
        Some(1),
        "may hold messages",
    );
    found(&all, "messages", "documents", Some(6), "");
    found(&all, "messages", "numbered", Some(3), "already");
    found(&all, "messages", "seq of another server", Some(1), "legacy");
    found(
        &all,
        "messages",
        "numbers that more than one",
        Some(1),
        "both are shown",
    );
    found(&all, "messages", "ids of kind string", Some(1), "kept");
    found(&all, "messages", "ids of kind int", Some(1), "kept");
    found(
        &all,
        "messages",
        "senderType \"ADMIN\"",
        Some(1),
        "is agent",
    );
    found(
        &all,
        "messages",
        "senderType \"bot\"",
        Some(1),
        "not understood, is user",
    );
    found(&all, "messages", "senderType null", Some(1), "is user");
    found(
        &all,
        "messages",
        "marked isInternalNote",
        Some(1),
        "agents only",
    );
    found(&all, "messages", "marked isDeleted", Some(1), "not shown");
    let known = [
        "marked private",
        "status \"open\"",
        "ids of kind objectId",
        "createdAt of kind date",
    ];
    for finding in &all {
        let what = finding["what"].as_str().unwrap();
        assert!(!known.contains(&what), "as ours, and found: {finding}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_other_servers_become_a_mapping_file_that_is_understood() {
    let world = World::new().await;
    let ticket = doc! {
        "_id": ObjectId::new(), "queryTitle": "t", "customer": ObjectId::new(), "created_at": "2023-05-05",
        "replies": [{ "text": "a" }], "notes": ["b"],
    };
    let message = doc! {
        "_id": ObjectId::new(), "tid": "TKT-1", "msg": "a", "author": 5, "role": "staff", "sentAt": 5,
    };
    insert(&world, "tickets", vec![ticket]).await;
    insert(&world, "messages", vec![message]).await;
    let output = check(&world.mongo_uri, &[]).await;
    let out = text(&output.stdout);
    let (list, mapping) = out.split_once("A mapping file").expect(out);
    for line in list.lines().filter(|line| !line.is_empty()) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        assert!(["tickets", "messages"].contains(&columns[0]), "{line}");
        assert!(
            columns[1] == "-" || columns[1].parse::<u64>().is_ok(),
            "{line}"
        );
        assert!(line.contains(": "), "{line}");
    }
    for line in [
        "subject = [\"queryTitle\"]",
        "userId = [\"customer\"]",
        "createdAt = [\"created_at\", \"sentAt\"]",
        "ticketId = [\"tid\"]",
        "content = [\"msg\"]",
        "senderId = [\"author\"]",
        "senderType = [\"role\"]",
        "[embedded.replies]",
        "[embedded.notes]\ninternal = true",
    ] {
        assert!(mapping.contains(line), "no {line} in {mapping}");
    }
    // As it stands there, adopt takes it.
    let (_, file) = mapping.split_once("\n\n").expect("lines");
    assert!(adopt(&world, file, &["--dry-run"], Lifecycle::default()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_way_is_found_with_what_to_do() {
    let world = World::new().await;
    let validator = doc! {
        "create": "messages", "validator": { "body": { "$exists": true } },
    };
    world.db.run_command(validator).await.expect("create");
    for (name, key, more) in [
        (
            "number_1",
            doc! { "ticketNumber": 1 },
            doc! { "unique": true },
        ),
        (
            "subject_1",
            doc! { "subject": 1, "userId": 1 },
            doc! { "unique": true },
        ),
        (
            "sparse_1",
            doc! { "ticketNumber2": 1 },
            doc! { "unique": true, "sparse": true },
        ),
        ("plain_1", doc! { "anything": 1 }, doc! {}),
    ] {
        let mut index = doc! { "name": name, "key": key };
        index.extend(more);
        let create = doc! { "createIndexes": "tickets", "indexes": [index] };
        world.db.run_command(create).await.expect("an index");
    }
    let before = everything(&world).await;
    let all = findings(&world).await;
    assert_eq!(everything(&world).await, before);
    found(
        &all,
        "tickets",
        "in the way",
        None,
        "dropIndex(\"number_1\")",
    );
    found(
        &all,
        "tickets",
        "in the way",
        None,
        "subject_1 (subject, userId)",
    );
    found(
        &all,
        "messages",
        "in the way",
        None,
        "collMod: \"messages\"",
    );
    let obstacles = all.iter().filter(|finding| finding["what"] == "in the way");
    assert_eq!(obstacles.count(), 3);
}

/// Stand-ins know no default collations and no views: the proxy answers as a server that does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collations_and_views_are_found() {
    let world = World::new().await;
    let proxy = OpMsg::of(&world.mongo_uri).await.unwrap();
    let database = world.db.name();
    let collections = vec![
        doc! { "name": "tickets", "type": "collection", "options": { "collation": { "locale": "ar", "strength": 1 } } },
        doc! { "name": "messages", "type": "view", "options": { "viewOn": "m", "pipeline": [] } },
    ];
    proxy.inject(
        "listCollections",
        doc! { "ok": 1.0, "cursor": {
            "id": 0_i64, "ns": format!("{database}.$cmd.listCollections"), "firstBatch": collections,
        } },
    );
    let uri = format!(
        "mongodb://{}/{database}?directConnection=true",
        proxy.address()
    );
    let output = check(&uri, &[]).await;
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(out.contains("tickets: default collation ar"), "{out}");
    assert!(out.contains("messages: is a view"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_database_and_one_that_is_not_there_end_with_their_codes() {
    let world = World::new().await;
    let all = findings(&world).await;
    found(&all, "tickets", "documents", Some(0), "");
    assert!(
        everything(&world).await.is_empty(),
        "no collection was made"
    );

    let absent = check(
        "mongodb://u:hunter2@127.0.0.1:1/t?serverSelectionTimeoutMS=200",
        &[],
    )
    .await;
    let error = text(&absent.stderr);
    assert_eq!((absent.status.code(), text(&absent.stdout)), (Some(1), ""));
    assert!(error.contains("MongoDB can't be reached"), "{error}");
    assert!(
        !error.contains("hunter2") && error.lines().count() == 1,
        "{error}"
    );
    for wrong in [&["--sample", "1"][..], &["--nonsense"]] {
        let output = check(&world.mongo_uri, wrong).await;
        assert_eq!(output.status.code(), Some(78), "{wrong:?}");
    }
    let refused = check("mongodb://127.0.0.1:1", &[]).await;
    assert_eq!(refused.status.code(), Some(78));
}
