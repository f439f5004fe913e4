//! Numbers of a ticket that stand in its audit trail.

use std::collections::HashSet;

use mongodb::{
    bson::{Bson, doc},
    options::FindOptions,
};
use ticket_shared::id::Id;

use super::{Store, StoreError};

/// Maximum that is asked for at once.
const CHUNK: usize = 1_000;

impl Store {
    /// Those of `numbers` at which the ticket changed otherwise than by a message, and MongoDB has that.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audited(&self, ticket: Id, numbers: &[u64]) -> Result<HashSet<u64>, StoreError> {
        let mut found = HashSet::new();
        for numbers in numbers.chunks(CHUNK) {
            let ids = numbers.iter().map(|seq| format!("{ticket}:{seq}").into());
            let ids: Vec<Bson> = ids.collect();
            // By `_id`.
            let filter = doc! { "_id": { "$in": ids } };
            let options = FindOptions::builder().projection(doc! { "_id": 1 }).build();
            let lines = self.find("events", filter, options).await?;
            let seqs = lines.iter().filter_map(|line| {
                let (_, seq) = line.get_str("_id").ok()?.rsplit_once(':')?;
                seq.parse::<u64>().ok()
            });
            found.extend(seqs);
        }
        Ok(found)
    }
}
