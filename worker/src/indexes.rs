//! The indexes that the product's queries need, created when a worker starts.
//!
//! Creating an index that exists does nothing. One that exists under other options is the operator's own
//! doing, and stays.

use mongodb::bson::{Document, doc};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    store::{Failure, Store},
};

/// The server's words for: exists with other options, or under another name.
const CONFLICTS: [i32; 2] = [85, 86];
/// The indexes: collection and specification.
fn indexes() -> Vec<(&'static str, Document)> {
    let plain =
        |collection, name: &str, key: Document| (collection, doc! { "key": key, "name": name });
    vec![
        // First what joins wait for: without it, each reads all messages.
        plain("messages", "by_seq", doc! { "ticketId": 1, "seq": 1 }),
        plain(
            "tickets",
            "by_status",
            doc! { "status": 1, "createdAt": -1, "_id": -1 },
        ),
        plain(
            "tickets",
            "by_agent",
            doc! { "assignedAgent.agentId": 1, "createdAt": -1 },
        ),
        plain("tickets", "by_user", doc! { "userId": 1, "createdAt": -1 }),
        plain(
            "tickets",
            "by_creation",
            doc! { "createdAt": -1, "_id": -1 },
        ),
        plain("tickets", "by_update", doc! { "updatedAt": -1 }),
        (
            "tickets",
            // Subjects are in any language: no stemming, no stop words.
            doc! { "key": { "subject": "text" }, "name": "by_words", "default_language": "none" },
        ),
        plain("events", "by_seq", doc! { "ticketId": 1, "seq": 1 }),
        (
            "reads",
            doc! { "key": { "ticketId": 1, "userId": 1 }, "name": "one_a_person", "unique": true },
        ),
    ]
}

/// Creates what is missing, for as long as it takes to reach MongoDB.
pub(crate) async fn run(store: Store, stopping: CancellationToken) {
    for (collection, index) in indexes() {
        let name = index.get_str("name").unwrap_or_default().to_owned();
        let mut backoff = Backoff::default();
        while let Err(failure) = create(&store, collection, &index).await {
            match failure {
                Failure::Command(code) if CONFLICTS.contains(&code) => {
                    tracing::warn!(
                        collection,
                        index = name,
                        code,
                        "index exists with other options, left as it is"
                    );
                    break;
                }
                Failure::Command(code) if failure.declines() => {
                    tracing::warn!(
                        collection,
                        index = name,
                        code,
                        "index refused by MongoDB, going on without it"
                    );
                    break;
                }
                failure => {
                    tracing::debug!(collection, index = name, error = %failure, "index not created yet");
                    if !backoff.wait(&stopping).await {
                        return;
                    }
                }
            }
        }
    }
    tracing::info!("indexes checked");
}

/// Creates the index without which messages of a ticket can't be found.
///
/// # Errors
/// If MongoDB can't be reached, or declines.
pub(crate) async fn create_first(store: &Store) -> Result<(), Failure> {
    for (collection, index) in indexes().into_iter().take(1) {
        match create(store, collection, &index).await {
            Err(Failure::Command(code)) if CONFLICTS.contains(&code) => {}
            done => done?,
        }
    }
    Ok(())
}

async fn create(store: &Store, collection: &str, index: &Document) -> Result<(), Failure> {
    let mut index = index.clone();
    // MongoDB ignores it; servers like it lock the collection without it.
    index.insert("background", true);
    let command = doc! { "createIndexes": collection, "indexes": [index] };
    store.prepare().await?;
    store.run(command).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_within_a_collection() {
        let mut names: Vec<String> = indexes()
            .iter()
            .map(|(collection, index)| format!("{collection}.{}", index.get_str("name").unwrap()))
            .collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
