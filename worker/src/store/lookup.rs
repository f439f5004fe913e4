//! Whether MongoDB has what Redis does not have any more.

use std::collections::HashSet;

use mongodb::bson::{Bson, Document, doc, oid::ObjectId};
use ticket_mongo::{MARK, form};
use ticket_shared::id::Id;

use super::{Failure, Store};

/// How many are asked for at once.
const CHUNK: usize = 1_000;

impl Store {
    /// Which of these numbers of a ticket are stored, as messages or in its audit trail.
    ///
    /// # Errors
    /// MongoDB does not answer.
    pub(crate) async fn numbers(
        &self,
        ticket: Id,
        numbers: &[u64],
    ) -> Result<HashSet<u64>, Failure> {
        let forms: Vec<Bson> = form::forms(ticket).collect();
        let mut found = HashSet::new();
        for numbers in numbers.chunks(CHUNK) {
            let seqs: Vec<i64> = numbers.iter().map(|seq| seq.cast_signed()).collect();
            let events = numbers.iter().map(|seq| format!("{ticket}:{seq}").into());
            let events: Vec<Bson> = events.collect();
            // By the index of the messages' places, and by `_id`.
            let messages = doc! {
                "ticketId": { "$in": forms.clone() }, "seq": { "$in": seqs }, MARK: { "$gt": 0 },
            };
            let events = doc! { "_id": { "$in": events } };
            for (collection, filter) in [("messages", messages), ("events", events)] {
                let stored = self.look_up(collection, filter, "seq").await?;
                found.extend(
                    stored
                        .iter()
                        .filter_map(|document| number(document.get("seq"))),
                );
            }
        }
        Ok(found)
    }

    /// Which of these messages are stored.
    ///
    /// # Errors
    /// MongoDB does not answer.
    pub(crate) async fn messages(&self, ids: &[Id]) -> Result<HashSet<Id>, Failure> {
        let mut found = HashSet::new();
        for ids in ids.chunks(CHUNK) {
            let ids: Vec<_> = ids
                .iter()
                .map(|id| ObjectId::from_bytes(id.bytes()))
                .collect();
            let filter = doc! { "_id": { "$in": ids } };
            let stored = self.look_up("messages", filter, "_id").await?;
            let stored = stored
                .iter()
                .filter_map(|document| document.get_object_id("_id").ok());
            found.extend(stored.map(|id| Id::from_bytes(id.bytes())));
        }
        Ok(found)
    }

    /// Whether a ticket is stored.
    ///
    /// # Errors
    /// MongoDB does not answer.
    pub(crate) async fn has_ticket(&self, ticket: Id) -> Result<bool, Failure> {
        let forms: Vec<Bson> = form::forms(ticket).collect();
        let filter = doc! { "_id": { "$in": forms } };
        Ok(!self.look_up("tickets", filter, "_id").await?.is_empty())
    }

    async fn look_up(
        &self,
        collection: &str,
        filter: Document,
        field: &str,
    ) -> Result<Vec<Document>, Failure> {
        let most = i64::try_from(2 * CHUNK).unwrap_or(i64::MAX);
        let command = doc! {
            "find": collection, "filter": filter, "projection": { field: 1 },
            "limit": most, "batchSize": most, "singleBatch": true,
        };
        let answer = self.run(command).await?;
        let batch = answer
            .get_document("cursor")
            .and_then(|cursor| cursor.get_array("firstBatch"))
            .map_err(|_| Failure::Unreachable("an answer without a batch".into()))?;
        Ok(batch
            .iter()
            .filter_map(Bson::as_document)
            .cloned()
            .collect())
    }
}

fn number(value: Option<&Bson>) -> Option<u64> {
    match value? {
        Bson::Int32(number) => u64::try_from(*number).ok(),
        Bson::Int64(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}
