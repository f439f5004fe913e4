//! What the gateway's user may read in MongoDB, tried by reading.

use mongodb::{bson::doc, options::FindOptions};

use super::{Store, StoreError, Unreachable};

/// The collections that are read.
const COLLECTIONS: [&str; 2] = ["tickets", "messages"];

impl Store {
    /// Returns which reads fail, in words for people: nothing if all is well.
    pub async fn refused(&self) -> Vec<String> {
        let failed = self.tried().await.into_iter();
        failed
            .map(|(what, error)| format!("{what}: {error}"))
            .collect()
    }

    /// Logs which reads the server itself refuses. One that is away says nothing of rights.
    pub(crate) async fn tell_refused(&self) {
        for (what, error) in self.tried().await {
            let denied = match &error {
                StoreError::Refused(_) => true,
                StoreError::Unreachable(Unreachable::Driver(trouble)) => trouble.is_denial(),
                StoreError::Unreachable(_) | StoreError::Malformed { .. } => false,
            };
            if denied {
                tracing::error!(operation = what, error = %error, "mongodb refuses a read that is needed");
            }
        }
    }

    async fn tried(&self) -> Vec<(String, StoreError)> {
        let mut failed = Vec::new();
        for collection in COLLECTIONS {
            let options = FindOptions::builder().limit(1).build();
            let filter = doc! { "_id": "check-config" };
            if let Err(error) = self.find(collection, filter, options).await {
                failed.push((format!("find on {collection}"), error));
            }
            let pipeline = vec![doc! { "$match": { "_id": "check-config" } }];
            if let Err(error) = self.aggregate(collection, pipeline).await {
                failed.push((format!("aggregate on {collection}"), error));
            }
        }
        failed
    }
}
