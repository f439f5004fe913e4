//! What another server, or an operator, left in the database that may refuse or change what the worker writes: unique
//! indexes, validators, collations, views.
//!
//! A change that MongoDB refuses was acknowledged, and is parked: so an obstacle is said at the start, in the log, in
//! `/readyz` and in a metric, before the first change meets it.

use std::fmt;

use mongodb::bson::{Bson, Document, doc};

use crate::store::{COLLECTIONS, Failure, Store};

/// The server's word for: there is no such collection.
const NOT_FOUND: i32 = 26;
/// The kinds of comparison, of a collation, that tell upper from lower case and accents.
const TELLS_CASE: i32 = 3;
/// The name of the worker's own unique index.
const OURS: &str = "one_a_person";

/// Something in the way of writes, or of reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Obstacle {
    /// Where.
    pub(crate) collection: String,
    /// What it is.
    pub(crate) kind: Kind,
}

/// The kinds of obstacle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A unique index.
    Unique {
        /// Its name.
        name: String,
        /// Its fields.
        fields: Vec<String>,
    },
    /// A validator that refuses documents.
    Validator,
    /// A default collation that takes different texts for the same.
    Collation(String),
    /// Not a collection.
    View,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let collection = &self.collection;
        match &self.kind {
            Kind::Unique { name, fields } => {
                let fields = fields.join(", ");
                write!(
                    f,
                    "{collection}: unique index {name} ({fields}) may refuse new documents; drop it: \
                     db.{collection}.dropIndex(\"{name}\")"
                )
            }
            Kind::Validator => write!(
                f,
                "{collection}: a validator may refuse documents; remove it: \
                 db.runCommand({{collMod: \"{collection}\", validator: {{}}}})"
            ),
            Kind::Collation(locale) => write!(
                f,
                "{collection}: default collation {locale} takes texts that differ in case for the same; copy the \
                 collection into one without a collation"
            ),
            Kind::View => write!(f, "{collection}: is a view, which takes no writes"),
        }
    }
}

/// Looks for obstacles. Changes nothing.
///
/// # Errors
/// If MongoDB can't be asked.
pub(crate) async fn find(store: &Store) -> Result<Vec<Obstacle>, Failure> {
    let names: Vec<Bson> = COLLECTIONS.into_iter().map(Bson::from).collect();
    let filter = doc! { "name": { "$in": names } };
    let reply = store
        .run(doc! { "listCollections": 1, "filter": filter })
        .await?;
    let mut obstacles: Vec<Obstacle> = batch(&reply).iter().flat_map(of_collection).collect();
    for collection in COLLECTIONS {
        let command = doc! { "listIndexes": collection, "cursor": { "batchSize": 1_000 } };
        match store.run(command).await {
            Ok(reply) => {
                let found = batch(&reply).into_iter();
                obstacles.extend(found.filter_map(|index| of_index(collection, &index)));
            }
            // It is no collection yet, or none that has indexes.
            Err(Failure::Command(code)) if code == NOT_FOUND || code == VIEW => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(obstacles)
}

/// The server's word for: a view has no indexes.
const VIEW: i32 = 166;

/// The first page of a cursor.
pub(crate) fn batch(reply: &Document) -> Vec<Document> {
    let list = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    let list = list.map_or(&[][..], |list| list);
    list.iter()
        .filter_map(|item| item.as_document().cloned())
        .collect()
}

fn of_collection(collection: &Document) -> Vec<Obstacle> {
    let name = collection.get_str("name").unwrap_or_default().to_owned();
    let obstacle = |kind| Obstacle {
        collection: name.clone(),
        kind,
    };
    if collection.get_str("type").ok() == Some("view") {
        return vec![obstacle(Kind::View)];
    }
    let Ok(options) = collection.get_document("options") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let validates = options
        .get_document("validator")
        .is_ok_and(|validator| !validator.is_empty());
    let refuses = options.get_str("validationAction").ok() != Some("warn")
        && options.get_str("validationLevel").ok() != Some("off");
    if validates && refuses {
        found.push(obstacle(Kind::Validator));
    }
    if let Ok(collation) = options.get_document("collation") {
        let locale = collation.get_str("locale").unwrap_or("simple");
        let strength = collation.get_i32("strength").unwrap_or(TELLS_CASE);
        if locale != "simple" && strength < TELLS_CASE {
            found.push(obstacle(Kind::Collation(locale.to_owned())));
        }
    }
    found
}

fn of_index(collection: &str, index: &Document) -> Option<Obstacle> {
    let name = index.get_str("name").unwrap_or_default();
    let key = index.get_document("key").ok()?;
    let unique = index.get_bool("unique").unwrap_or(false);
    if !unique || name == OURS || key.keys().eq(["_id"]) {
        return None;
    }
    let fields: Vec<String> = key.keys().cloned().collect();
    // A document that has none of its fields is not in a sparse index, and ours has only ours.
    let sparse = index.get_bool("sparse").unwrap_or(false);
    if sparse && !fields.iter().any(|field| writes(collection, field)) {
        return None;
    }
    Some(Obstacle {
        collection: collection.to_owned(),
        kind: Kind::Unique {
            name: name.to_owned(),
            fields,
        },
    })
}

/// If the worker writes this field of new documents.
fn writes(collection: &str, field: &str) -> bool {
    let root = field.split('.').next().unwrap_or(field);
    let fields: &[&str] = match collection {
        "tickets" => &[
            "subject",
            "description",
            "status",
            "priority",
            "tags",
            "userId",
            "userName",
            "assignedAgent",
            "seq",
            "publicSeq",
            "messageCount",
            "lastMessage",
            "createdAt",
            "updatedAt",
            "publicUpdatedAt",
            "closedAt",
            ticket_mongo::MARK,
        ],
        "messages" => &[
            "ticketId",
            "seq",
            "senderId",
            "senderType",
            "senderName",
            "content",
            "internal",
            "clientMessageId",
            "createdAt",
            ticket_mongo::MARK,
        ],
        _ => return true,
    };
    fields.contains(&root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(obstacles: impl IntoIterator<Item = Obstacle>) -> Vec<String> {
        obstacles.into_iter().map(|each| each.to_string()).collect()
    }

    #[test]
    fn what_may_refuse_a_document_is_an_obstacle() {
        let unique = doc! { "name": "number_1", "key": { "number": 1 }, "unique": true };
        let said = texts(of_index("tickets", &unique));
        assert!(said[0].contains("dropIndex(\"number_1\")"), "{said:?}");
        let validator = doc! { "name": "messages", "type": "collection", "options": {
            "validator": { "$jsonSchema": {} }, "collation": { "locale": "en", "strength": 2 },
        } };
        assert_eq!(of_collection(&validator).len(), 2);
        let view = doc! { "name": "tickets", "type": "view", "options": { "viewOn": "t" } };
        assert_eq!(of_collection(&view)[0].kind, Kind::View);
        let sparse =
            doc! { "name": "c", "key": { "clientMessageId": 1 }, "unique": true, "sparse": true };
        assert!(of_index("messages", &sparse).is_some());
    }

    #[test]
    fn what_refuses_nothing_is_none() {
        for index in [
            doc! { "name": "_id_", "key": { "_id": 1 } },
            doc! { "name": "_id_", "key": { "_id": 1 }, "unique": true },
            doc! { "name": "by_status", "key": { "status": 1 } },
            doc! { "name": "number_1", "key": { "number": 1 }, "unique": true, "sparse": true },
        ] {
            assert_eq!(of_index("tickets", &index), None, "{index}");
        }
        let ours = doc! { "name": OURS, "key": { "ticketId": 1, "userId": 1 }, "unique": true };
        assert_eq!(of_index("reads", &ours), None);
        let warns = doc! { "name": "tickets", "type": "collection", "options": {
            "validator": { "a": 1 }, "validationAction": "warn",
            "collation": { "locale": "ar", "strength": 3 },
        } };
        assert_eq!(of_collection(&warns), []);
    }
}
