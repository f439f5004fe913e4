//! All documents of a collection, page by page, in the order of their ids.

use mongodb::{
    bson::{Bson, Document, doc},
    options::FindOptions,
};

use crate::store::{Failure, Store};

/// Kinds of ids. A query compares values of one kind only.
const KINDS: [&str; 7] = [
    "objectId", "string", "number", "binData", "object", "date", "bool",
];

/// A position among the documents of a collection.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    collection: &'static str,
    page: u32,
    projection: Option<Document>,
    kind: usize,
    after: Option<Bson>,
}

impl Scan {
    /// The beginning.
    pub(crate) fn new(collection: &'static str, page: u32) -> Self {
        Self {
            collection,
            page,
            projection: None,
            kind: 0,
            after: None,
        }
    }

    /// The same, of which only the ids are read.
    pub(crate) fn ids(self) -> Self {
        Self {
            projection: Some(doc! { "_id": 1 }),
            ..self
        }
    }

    /// The documents after this position, at most a page; nothing at the end.
    ///
    /// # Errors
    /// The position stays, and it may be tried again.
    pub(crate) async fn next(&self, store: &Store) -> Result<(Self, Vec<Document>), Failure> {
        let mut at = self.clone();
        while let Some(kind) = KINDS.get(at.kind) {
            let mut id = doc! { "$type": kind };
            if let Some(after) = &at.after {
                id.insert("$gt", after);
            }
            let options = FindOptions::builder()
                .sort(doc! { "_id": 1 })
                .limit(i64::from(at.page))
                .projection(at.projection.clone())
                .build();
            let found = store
                .find(at.collection, doc! { "_id": id }, options)
                .await?;
            let page: Vec<Document> = found
                .into_iter()
                .filter_map(|document| Document::try_from(document).ok())
                .collect();
            if let Some(last) = page.last().and_then(|last| last.get("_id")) {
                at.after = Some(last.clone());
                return Ok((at, page));
            }
            at.kind += 1;
            at.after = None;
        }
        Ok((at, Vec::new()))
    }
}
