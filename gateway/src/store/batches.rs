//! Reads of everything that matches, however much that is.
//!
//! What must hold: a large read holds up no other. It goes in batches, and each of them has a deadline and takes its turn
//! among all operations as a small read does.

use std::time::Duration;

use futures::TryStreamExt;
use mongodb::{
    bson::{Document, RawDocumentBuf},
    options::FindOptions,
};

use super::{Store, StoreError};

/// Documents in a batch.
const BATCH: usize = 1_000;
/// Time that the server may spend on all batches of a read.
const WHOLE: Duration = Duration::from_mins(1);

impl Store {
    /// Calls `each` with every document that matches.
    ///
    /// # Errors
    /// [`StoreError`], if one of the batches fails.
    pub(super) async fn find_each(
        &self,
        collection: &str,
        filter: Document,
        mut options: FindOptions,
        mut each: impl FnMut(&RawDocumentBuf),
    ) -> Result<(), StoreError> {
        options.batch_size = u32::try_from(BATCH).ok();
        options.max_time = Some(WHOLE);
        let (store, collection) = (self.clone(), collection.to_owned());
        let opened = self.run(async move {
            let database = store.database().await?;
            let collection = database.collection::<RawDocumentBuf>(&collection);
            collection.find(filter).with_options(options).await
        });
        let mut cursor = opened.await?;
        loop {
            let read = self.run(async move {
                let mut batch = Vec::new();
                while batch.len() < BATCH {
                    match cursor.try_next().await? {
                        Some(document) => batch.push(document),
                        None => return Ok((batch, None)),
                    }
                }
                Ok((batch, Some(cursor)))
            });
            let (batch, rest) = read.await?;
            batch.iter().for_each(&mut each);
            match rest {
                Some(rest) => cursor = rest,
                None => return Ok(()),
            }
        }
    }
}
