//! The names of fields: which of ours are missing, and which of theirs look like them.

use std::collections::{BTreeMap, HashSet};

use mongodb::{
    bson::{Bson, Document, doc},
    options::FindOptions,
};

use super::Finding;
use crate::store::{Failure, Store};

/// Our fields, and the names that other servers give them.
const ALIASES: [(&str, &str, &[&str]); 9] = [
    (
        "messages",
        "ticketId",
        &[
            "ticket",
            "tid",
            "ticket_id",
            "ticketRef",
            "conversationId",
            "issueId",
            "issue",
        ],
    ),
    (
        "messages",
        "content",
        &["message", "text", "body", "comment", "msg", "note"],
    ),
    (
        "messages",
        "senderId",
        &[
            "from",
            "author",
            "sender",
            "user",
            "by",
            "createdBy",
            "userId",
            "sender_id",
        ],
    ),
    (
        "messages",
        "senderType",
        &["role", "authorType", "sender_type", "userType"],
    ),
    (
        "messages",
        "senderName",
        &["authorName", "fromName", "name", "userName"],
    ),
    (
        "messages",
        "createdAt",
        &[
            "date",
            "created",
            "created_at",
            "timestamp",
            "time",
            "sentAt",
        ],
    ),
    (
        "tickets",
        "subject",
        &["queryTitle", "name", "topic", "summary", "issue"],
    ),
    (
        "tickets",
        "userId",
        &[
            "user",
            "customer",
            "customerId",
            "createdBy",
            "owner",
            "requester",
            "user_id",
            "client",
        ],
    ),
    (
        "tickets",
        "createdAt",
        &["date", "created", "created_at", "timestamp", "openedAt"],
    ),
];
/// A name that is read without a mapping.
const TITLE: &str = "title";
/// Arrays in a ticket that hold messages.
const ARRAYS: [&str; 9] = [
    "comments",
    "notes",
    "replies",
    "messages",
    "conversation",
    "thread",
    "responses",
    "history",
    "chat",
];

/// Counts names in a sample; adds what was found, and answers with the lines of a mapping file.
pub(super) async fn census(
    store: &Store,
    sample: u32,
    findings: &mut Vec<Finding>,
) -> Result<Vec<String>, Failure> {
    // A field of both collections stands in the file once.
    let mut mapping: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut tables = Vec::new();
    for collection in ["tickets", "messages"] {
        let documents = documents(store, collection, sample).await?;
        let mut names: BTreeMap<&str, i64> = BTreeMap::new();
        for (name, value) in documents.iter().flatten() {
            if !matches!(value, Bson::Null) {
                *names.entry(name).or_default() += 1;
            }
        }
        let count = |name: &str| names.get(name).copied().unwrap_or(0);
        for (of, ours, theirs) in ALIASES {
            let titled = ours == "subject" && count(TITLE) > 0;
            if of != collection
                || titled
                || count(ours) * 2 > i64::try_from(documents.len()).unwrap_or(0)
            {
                continue;
            }
            let found: Vec<&str> = theirs
                .iter()
                .copied()
                .filter(|name| count(name) > count(ours))
                .collect();
            for name in &found {
                findings.push(finding(
                    collection,
                    name,
                    count(name),
                    &format!("looks like {ours}"),
                ));
            }
            if !found.is_empty() {
                mapping.entry(ours).or_default().extend(found);
            }
        }
        if collection == "tickets" {
            arrays(&documents, findings, &mut tables);
        }
    }
    let fields = mapping
        .into_iter()
        .map(|(ours, theirs)| format!("{ours} = {theirs:?}"));
    // What follows a table's name belongs to it.
    Ok(fields.chain(tables).collect())
}

fn finding(collection: &str, name: &str, count: i64, then: &str) -> Finding {
    Finding {
        collection: collection.to_owned(),
        what: format!("field {name}, in a sample"),
        count: Some(count),
        then: format!("{then}; not read until adopt --map says so"),
    }
}

fn arrays(documents: &[Document], findings: &mut Vec<Finding>, mapping: &mut Vec<String>) {
    for name in ARRAYS {
        let holds = |ticket: &&Document| {
            ticket.get_array(name).is_ok_and(|array| {
                array
                    .iter()
                    .any(|item| matches!(item, Bson::Document(_) | Bson::String(_)))
            })
        };
        let count = documents.iter().filter(holds).count();
        if count > 0 {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            findings.push(finding("tickets", name, count, "may hold messages"));
            mapping.push(format!("[embedded.{name}]"));
            if name == "notes" {
                mapping.push("internal = true".to_owned());
            }
        }
    }
}

async fn documents(store: &Store, collection: &str, sample: u32) -> Result<Vec<Document>, Failure> {
    let (mut documents, mut seen) = (Vec::new(), HashSet::new());
    for direction in [1, -1] {
        let options = FindOptions::builder()
            .sort(doc! { "_id": direction })
            .limit(i64::from(sample / 2))
            .build();
        let found = store.find(collection, doc! {}, options).await?;
        // The halves overlap in a small collection.
        let found = found
            .into_iter()
            .filter_map(|found| Document::try_from(found).ok())
            .filter(|found| seen.insert(found.get("_id").map(Bson::to_string)));
        documents.extend(found);
    }
    Ok(documents)
}
