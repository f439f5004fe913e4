//! An adoption that is killed, begun again and run twice, on a database whose size `ADOPT_TICKETS` and `ADOPT_MESSAGES`
//! set. `ADOPT_PROGRAM` names another build of the worker than the tests' own.

use std::{collections::HashMap, hash::Hasher, io::Write as _, process::Stdio, time::Duration};

use futures::TryStreamExt;
use mongodb::bson::{Document, RawDocumentBuf, doc, oid::ObjectId};
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
    time::Instant,
};

use super::{at, lost_nothing, plain, plain_ticket, renamed, text};
use crate::{
    harness::{World, until},
    inspect::oid,
    sample::id,
};

/// Tickets that are made, and compared, at a time.
const CHUNK: u32 = 200;
const MAPPING: &str = "content = [\"body\", \"text\"]\n[embedded.comments]\n";

/// The database: in each ticket, messages at even places are documents of their own, the others are in an array.
struct Old {
    tickets: u32,
    messages: u32,
}

impl Old {
    fn from_env() -> Self {
        let size = |name: &str, normal: u32| {
            let set = std::env::var(name).ok();
            set.map_or(normal, |size| size.parse().expect("a number"))
        };
        let tickets = size("ADOPT_TICKETS", 300);
        Self {
            tickets,
            messages: size("ADOPT_MESSAGES", 3_000) / tickets,
        }
    }

    fn ticket(&self, n: u32) -> Document {
        let mut ticket = plain_ticket(n);
        let comments: Vec<Document> = (0..self.messages)
            .filter(|place| place % 2 == 1)
            .map(|place| {
                doc! { "text": text(place), "isInternal": place == 1, "createdAt": at(place), "own": place }
            })
            .collect();
        ticket.insert("comments", comments);
        ticket
    }

    fn messages(&self, n: u32) -> impl Iterator<Item = Document> {
        let places = (0..self.messages).filter(|place| place % 2 == 0);
        places.map(move |place| renamed(plain(n, place), "content", "body"))
    }

    fn chunks(&self) -> impl Iterator<Item = std::ops::RangeInclusive<u32>> {
        let last = self.tickets;
        (1..=last)
            .step_by(CHUNK as usize)
            .map(move |first| first..=(first + CHUNK - 1).min(last))
    }

    async fn store(&self, world: &World) {
        let tickets = world.db.collection::<Document>("tickets");
        let messages = world.db.collection::<Document>("messages");
        for numbers in self.chunks() {
            let some = numbers.clone().map(|n| self.ticket(n));
            tickets.insert_many(some).await.expect("insert");
            let some = numbers.flat_map(|n| self.messages(n));
            messages.insert_many(some).await.expect("insert");
        }
    }

    /// Compares every ticket and message with what it was, field by field.
    async fn compare(&self, world: &World) {
        let all = u64::from(self.tickets) * u64::from(self.messages);
        assert_eq!(world.count("messages").await, all);
        assert_eq!(world.count("tickets").await, u64::from(self.tickets));
        for numbers in self.chunks() {
            let ids: Vec<ObjectId> = numbers.clone().map(|n| oid(id(n, 1))).collect();
            let filter = doc! { "_id": { "$in": ids.clone() } };
            let tickets = find(world, "tickets", filter, doc! {}).await;
            let tickets: HashMap<ObjectId, Document> = tickets
                .into_iter()
                .map(|ticket| (ticket.get_object_id("_id").expect("an id"), ticket))
                .collect();
            let filter = doc! { "ticketId": { "$in": ids } };
            let sort = doc! { "ticketId": 1, "seq": 1 };
            let mut messages: HashMap<ObjectId, Vec<Document>> = HashMap::new();
            for message in find(world, "messages", filter, sort).await {
                let ticket = message.get_object_id("ticketId").expect("an id");
                messages.entry(ticket).or_default().push(message);
            }
            for n in numbers {
                let ticket = oid(id(n, 1));
                self.compare_one(n, &tickets[&ticket], &messages[&ticket]);
            }
        }
    }

    fn compare_one(&self, n: u32, ticket: &Document, messages: &[Document]) {
        lost_nothing("killed", &self.ticket(n), ticket);
        let seq = i64::from(self.messages) + 1;
        assert_eq!(
            (&ticket["seq"], &ticket["logVersion"]),
            (&seq.into(), &1.into())
        );
        assert_eq!(ticket["messageCount"], (seq - 2).into(), "{ticket}");
        let mut old: HashMap<ObjectId, Document> = self
            .messages(n)
            .map(|message| (message.get_object_id("_id").expect("an id"), message))
            .collect();
        assert_eq!(messages.len(), self.messages as usize, "{ticket}");
        for (place, message) in (0..).zip(messages) {
            assert_eq!(message["seq"], i64::from(place + 2).into(), "{message}");
            assert_eq!(message["content"], text(place).into(), "{message}");
            assert_eq!(message["own"], place.into(), "{message}");
            assert_eq!(message["createdAt"], at(place).into(), "{message}");
            let internal = message.get_bool("internal").unwrap_or(false);
            assert_eq!(internal, place == 1, "{message}");
            let own = message.get_object_id("_id").expect("an id");
            if let Some(old) = old.remove(&own) {
                lost_nothing("killed", &old, message);
            }
        }
        assert!(old.is_empty(), "{old:?} are lost");
    }
}

async fn find(world: &World, collection: &str, filter: Document, sort: Document) -> Vec<Document> {
    let collection = world.db.collection::<Document>(collection);
    let found = collection.find(filter).sort(sort).batch_size(10_000).await;
    found.expect("find").try_collect().await.expect("find")
}

/// A digest of all documents that the worker writes.
async fn digest(world: &World) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for collection in ["tickets", "messages", "events"] {
        let collection = world.db.collection::<RawDocumentBuf>(collection);
        let found = collection.find(doc! {}).sort(doc! { "_id": 1 }).await;
        let mut found = found.expect("find");
        while let Some(document) = found.try_next().await.expect("find") {
            hasher.write(document.as_bytes());
        }
    }
    hasher.finish()
}

fn start(world: &World, map: &std::path::Path) -> Child {
    let own = env!("CARGO_BIN_EXE_ticket-worker").to_owned();
    let program = std::env::var("ADOPT_PROGRAM").unwrap_or(own);
    Command::new(program)
        .env_clear()
        .env("KEY_PREFIX", world.keys.prefix())
        .env("PARTITIONS", world.keys.partitions().to_string())
        .env("REDIS_URL", &world.redis_url)
        .env("MONGO_URI", &world.mongo_uri)
        .args(["adopt", "--rate", "1000000", "--map"])
        .arg(map)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the command runs")
}

/// The most memory that a process has had, in KiB, where the system says so.
fn memory(process: &Child) -> u64 {
    let path = format!("/proc/{}/status", process.id().unwrap_or(0));
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let figure = line.and_then(|line| line.split_whitespace().nth(1));
    figure.and_then(|figure| figure.parse().ok()).unwrap_or(0)
}

/// Waits until it has ended; its report, and the most memory that it was seen with.
async fn ended(mut process: Child) -> (String, u64) {
    let mut out = process.stdout.take().expect("a pipe");
    let mut most = 0;
    let code = loop {
        most = most.max(memory(&process));
        if let Some(code) = process.try_wait().expect("a process") {
            break code;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut report = String::new();
    out.read_to_string(&mut report).await.expect("text");
    assert!(code.success(), "{report}");
    (report, most)
}

/// A figure of a report.
fn count(report: &str, what: &str) -> u64 {
    let figure = report.lines().find_map(|line| line.strip_suffix(what));
    figure.expect(what).trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adoption_that_is_killed_goes_on_and_loses_nothing() {
    let (world, old) = (World::new().await, Old::from_env());
    old.store(&world).await;
    let map = std::env::temp_dir().join(format!("{}.toml", world.db.name()));
    let mut file = std::fs::File::create(&map).expect("a file");
    file.write_all(MAPPING.as_bytes()).expect("a file");

    let messages = world.db.collection::<Document>("messages");
    let tickets = world.db.collection::<Document>("tickets");
    // Once among the messages, and once while it numbers: then what it had claimed has to end first.
    for (collection, done) in [
        (&messages, doc! { "content": { "$exists": true } }),
        (&messages, doc! { "logVersion": 1 }),
    ] {
        let before = collection.count_documents(done.clone()).await.unwrap();
        let mut process = start(&world, &map);
        until("it has begun", async || {
            collection.count_documents(done.clone()).await.unwrap() > before
        })
        .await;
        process.kill().await.expect("it was running");
    }
    let left = u64::from(old.tickets)
        - tickets
            .count_documents(doc! { "logVersion": 1 })
            .await
            .unwrap();
    assert!(left > 0, "it was killed before its end");

    let began = Instant::now();
    let (report, most) = ended(start(&world, &map)).await;
    let took = began.elapsed();
    println!(
        "{report}{left} tickets of {} taken over in {took:?}, with at most {most} KiB",
        old.tickets
    );
    old.compare(&world).await;
    let exceptional = report.lines().filter(|line| line.contains("left "));
    for line in exceptional {
        assert_eq!(line.split_whitespace().next(), Some("0"), "{report}");
    }
    assert_eq!(count(&report, "tickets numbered"), left);

    let before = digest(&world).await;
    let (report, _) = ended(start(&world, &map)).await;
    assert_eq!(digest(&world).await, before, "run twice: {report}");
    assert_eq!(count(&report, "messages numbered"), 0);
    let numbered = count(&report, "tickets that were numbered before");
    assert_eq!(numbered, u64::from(old.tickets));
    std::fs::remove_file(map).expect("a file");
    world.finish([]).await;
}
