//! What a test sees of Redis and MongoDB.

use std::collections::{BTreeMap, HashMap};

use fred::{
    interfaces::{HashesInterface, SortedSetsInterface, StreamsInterface},
    types::Value,
};
use futures::TryStreamExt;
use mongodb::bson::{Document, doc, oid::ObjectId};
use ticket_shared::{id::Id, stream::GROUP};

use crate::harness::{World, until};

impl World {
    /// Entries that were read and not acknowledged, in all partitions; and the length of all streams.
    pub(crate) async fn unsettled(&self) -> (i64, i64) {
        let (mut pending, mut length) = (0, 0);
        for partition in 0..self.keys.partitions() {
            let key = self.keys.events(partition);
            length += self.redis.xlen::<i64, _>(&key).await.unwrap_or(0);
            let summary: Value = self
                .redis
                .xpending(&key, GROUP, ())
                .await
                .unwrap_or(Value::Null);
            if let Value::Array(parts) = summary {
                pending += parts[0].as_i64().expect("a count");
            }
        }
        (pending, length)
    }

    /// Waits until everything is settled and trimmed away.
    pub(crate) async fn until_drained(&self) {
        until("the streams are empty", async || {
            self.unsettled().await == (0, 0)
        })
        .await;
    }

    pub(crate) async fn count(&self, collection: &str) -> u64 {
        let collection = self.db.collection::<Document>(collection);
        collection.count_documents(doc! {}).await.expect("count")
    }

    /// All documents of a collection, by `_id`, with their fields in alphabetical order.
    pub(crate) async fn documents(&self, collection: &str) -> BTreeMap<String, String> {
        let all = self
            .db
            .collection::<Document>(collection)
            .find(doc! {})
            .await;
        let all: Vec<Document> = all.expect("find").try_collect().await.expect("find");
        all.into_iter()
            .map(|document| {
                let id = document.get("_id").expect("_id").to_string();
                let fields: BTreeMap<String, _> = document.into_iter().collect();
                (id, format!("{fields:?}"))
            })
            .collect()
    }

    /// Every document that workers write.
    pub(crate) async fn everything(&self) -> Vec<BTreeMap<String, String>> {
        let mut all = Vec::new();
        for collection in ["tickets", "messages", "events"] {
            all.push(self.documents(collection).await);
        }
        all
    }

    pub(crate) async fn ticket(&self, ticket: Id) -> Option<Document> {
        self.find("tickets", doc! { "_id": oid(ticket) }).await
    }

    pub(crate) async fn find(&self, collection: &str, filter: Document) -> Option<Document> {
        let collection = self.db.collection::<Document>(collection);
        collection.find_one(filter).await.expect("find")
    }

    /// A field of a ticket's hot state.
    pub(crate) async fn state(&self, ticket: Id, field: &str) -> Option<String> {
        self.redis
            .hget(self.keys.state(ticket), field)
            .await
            .expect("HGET")
    }

    /// The parked entries of a partition.
    pub(crate) async fn dead(&self, partition: u16) -> Vec<HashMap<String, Vec<u8>>> {
        let key = self.keys.dead(partition);
        let entries: Vec<(String, HashMap<String, Vec<u8>>)> = self
            .redis
            .xrange_values(key, "-", "+", None)
            .await
            .expect("XRANGE");
        entries.into_iter().map(|(_, fields)| fields).collect()
    }

    /// Tickets that are said to have something unpersisted.
    pub(crate) async fn dirty(&self) -> i64 {
        let mut dirty = 0;
        for partition in 0..self.keys.partitions() {
            let key = self.keys.dirty(partition);
            dirty += self.redis.zcard::<i64, _>(key).await.expect("ZCARD");
        }
        dirty
    }
}

pub(crate) fn oid(id: Id) -> ObjectId {
    ObjectId::from_bytes(id.bytes())
}

/// The ids in the reply to a read of one stream.
pub(crate) fn ids(read: Value) -> Vec<String> {
    let streams = read
        .into_xread_response::<String, String, String, String>()
        .expect("a read");
    let entries = streams.into_values().next().expect("a stream");
    entries.into_iter().map(|(id, _)| id).collect()
}
