//! Databases of other servers, taken over: nothing is lost, and everything is where the product looks for it.

use std::io::Write as _;

use futures::TryStreamExt;
use mongodb::bson::{Bson, DateTime, Document, doc};
use ticket_shared::lifecycle::Lifecycle;

use crate::{harness::World, inspect::oid, sample::id};

mod beside;
mod killed;
mod shapes;
mod twins;

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

async fn all(world: &World, collection: &str) -> Vec<Document> {
    let collection = world.db.collection::<Document>(collection);
    let found = collection.find(doc! {}).sort(doc! { "seq": 1 }).await;
    found.expect("find").try_collect().await.expect("find")
}

/// Adopts; says whether it came to its end.
pub(crate) async fn adopt(world: &World, mapping: &str, more: &[&str], life: Lifecycle) -> bool {
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
