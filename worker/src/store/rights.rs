//! What the worker's user may do in MongoDB, asked for before anything is written.
//!
//! A user may ask the server for its own privileges, so nothing has to be written to find out. A server without users, or
//! one that does not list privileges, answers with none of them: the writes will tell.

use mongodb::{
    bson::{Bson, Document, doc},
    options::FindOptions,
};
use ticket_mongo::read_concern;

use super::{COLLECTIONS, Failure, Store, name_of};

/// The actions that the worker needs in each of its collections.
const ACTIONS: [&str; 5] = [
    "find",
    "insert",
    "update",
    "createCollection",
    "createIndex",
];

impl Store {
    /// Returns what MongoDB refuses, in words for people: nothing if all is well.
    pub(crate) async fn refused(&self) -> Vec<String> {
        let mut refused = self.not_granted().await;
        if refused.is_empty() {
            refused.extend(self.unreadable().await);
        }
        refused
    }

    /// Tries a read as the worker reads, with the read concern that the URI asks for.
    async fn unreadable(&self) -> Option<String> {
        let (collection, database) = (COLLECTIONS[0], self.database.name());
        let options = FindOptions::builder().limit(1).build();
        let tried = self.find(collection, doc! { "_id": "check-config" }, options);
        let failure = tried.await.err()?;
        // A server that is away says nothing of rights.
        let Failure::Command(code) = failure else {
            return None;
        };
        let name = name_of(code);
        let concern = self.database.read_concern().filter(|_| !failure.passes());
        let advice = concern.map_or_else(String::new, |concern| {
            let level = read_concern::level(concern);
            format!("; if it does not take the read concern {level}, set readConcernLevel=local in MONGO_URI")
        });
        Some(format!(
            "find on {database}.{collection}: {failure}{name}{advice}"
        ))
    }

    async fn not_granted(&self) -> Vec<String> {
        let ask = doc! { "connectionStatus": 1, "showPrivileges": true };
        match self.run(ask).await {
            Ok(status) => missing(&status, self.database.name()),
            // Not every server knows the question; the writes will tell.
            Err(Failure::Command(_)) => match self.ping().await {
                Ok(()) => Vec::new(),
                Err(failure) => vec![failure.to_string()],
            },
            Err(failure) => vec![failure.to_string()],
        }
    }
}

/// The actions that the reply to `connectionStatus` does not grant in `database`.
fn missing(status: &Document, database: &str) -> Vec<String> {
    let array = |field: &str| {
        let info = status.get_document("authInfo");
        info.and_then(|info| info.get_array(field))
            .map_or(&[][..], |list| list)
    };
    let privileges: Vec<&Document> = array("authenticatedUserPrivileges")
        .iter()
        .filter_map(Bson::as_document)
        .collect();
    if privileges.is_empty() {
        return Vec::new();
    }
    let mut missing = Vec::new();
    for collection in COLLECTIONS {
        let lacking: Vec<&str> = ACTIONS
            .into_iter()
            .filter(|action| {
                !privileges
                    .iter()
                    .any(|privilege| grants(privilege, database, collection, action))
            })
            .collect();
        if !lacking.is_empty() {
            missing.push(format!(
                "{} on {database}.{collection}: not granted",
                lacking.join(", ")
            ));
        }
    }
    missing
}

fn grants(privilege: &Document, database: &str, collection: &str, action: &str) -> bool {
    let Ok(resource) = privilege.get_document("resource") else {
        return false;
    };
    // Names that are empty stand for all of them.
    let is = |field: &str, name: &str| {
        resource
            .get_str(field)
            .is_ok_and(|value| value.is_empty() || value == name)
    };
    let covers = resource.get_bool("anyResource").unwrap_or(false)
        || (is("db", database) && is("collection", collection));
    let actions = privilege.get_array("actions").map_or(&[][..], |list| list);
    covers
        && actions
            .iter()
            .any(|granted| matches!(granted.as_str(), Some(name) if name == action || name == "anyAction"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(privileges: Vec<Document>) -> Document {
        doc! { "authInfo": {
            "authenticatedUsers": [{ "user": "w", "db": "admin" }],
            "authenticatedUserPrivileges": privileges,
        } }
    }

    fn granting(db: &str, collection: &str, actions: &[&str]) -> Document {
        doc! { "resource": { "db": db, "collection": collection }, "actions": actions.to_vec() }
    }

    #[test]
    fn a_user_that_only_reads_lacks_the_rest_by_name() {
        let refused = missing(&status(vec![granting("t", "", &["find"])]), "t");
        assert_eq!(refused.len(), COLLECTIONS.len());
        assert_eq!(
            refused[0],
            "insert, update, createCollection, createIndex on t.tickets: not granted"
        );
    }

    #[test]
    fn grants_of_all_names_and_of_single_ones_add_up() {
        let all = granting("", "", &ACTIONS);
        assert!(missing(&status(vec![all]), "t").is_empty());
        let other = granting("u", "", &ACTIONS);
        assert_eq!(missing(&status(vec![other]), "t").len(), COLLECTIONS.len());
        let single = COLLECTIONS
            .map(|name| granting("t", name, &ACTIONS))
            .to_vec();
        assert!(missing(&status(single), "t").is_empty());
        let any = doc! { "resource": { "anyResource": true }, "actions": ["anyAction"] };
        assert!(missing(&status(vec![any]), "t").is_empty());
    }

    #[test]
    fn a_server_that_lists_no_privileges_refuses_nothing() {
        let open =
            doc! { "authInfo": { "authenticatedUsers": [], "authenticatedUserPrivileges": [] } };
        assert!(missing(&open, "t").is_empty());
        assert!(missing(&doc! { "ok": 1 }, "t").is_empty());
        assert!(missing(&status(vec![]), "t").is_empty());
    }
}
