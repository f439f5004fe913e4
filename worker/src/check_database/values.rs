//! The documents by what they hold: kinds of ids and dates, numbers, words, marks of notes and of deleted messages.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document, doc};
use ticket_mongo::{MARK, date, words};
use ticket_shared::domain::{Priority, Status, UserType};

use super::{Finding, aggregate};
use crate::store::{Failure, Store};

/// Counts everything that is looked for in all documents.
pub(super) async fn census(store: &Store, findings: &mut Vec<Finding>) -> Result<(), Failure> {
    for collection in ["tickets", "messages"] {
        findings.push(total(store, collection, "documents", vec![], "").await?);
        numbers(store, collection, findings).await?;
        ids(store, collection, findings).await?;
        dates(store, collection, findings).await?;
    }
    doubled(store, findings).await?;
    let status = |word: &str| words::status(word).map(Status::as_str);
    values(store, ("tickets", "status"), status, findings).await?;
    let priority = |word: &str| words::priority(word).map(Priority::as_str);
    values(store, ("tickets", "priority"), priority, findings).await?;
    let side = |word: &str| words::side(word).map(UserType::as_str);
    values(store, ("messages", "senderType"), side, findings).await?;
    marks(store, findings).await
}

/// The server that numbered the documents.
async fn numbers(
    store: &Store,
    collection: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), Failure> {
    let own = doc! { "$match": { MARK: { "$gt": 0 } } };
    let then = "numbered by this product already";
    findings.push(total(store, collection, "numbered", vec![own], then).await?);
    let mut foreign = doc! { MARK: { "$not": { "$gt": 0 } }, "seq": { "$ne": null } };
    if collection == "tickets" {
        // The two fields by which an earlier version is known.
        let earlier = doc! { "publicSeq": { "$gt": 0 }, "publicUpdatedAt": { "$ne": null } };
        let mut of_earlier = foreign.clone();
        of_earlier.extend(earlier.clone());
        let what = "numbered by an earlier version of this product";
        let then = "marked by adopt, with its messages";
        let pipeline = vec![doc! { "$match": of_earlier }];
        add(
            findings,
            total(store, collection, what, pipeline, then).await?,
        );
        foreign.insert("$nor", [earlier]);
    }
    let then = "no numbers of ours: kept under legacy once ours are given";
    let pipeline = vec![doc! { "$match": foreign }];
    add(
        findings,
        total(store, collection, "seq of another server", pipeline, then).await?,
    );
    Ok(())
}

/// Messages of one ticket that have the same number.
async fn doubled(store: &Store, findings: &mut Vec<Finding>) -> Result<(), Failure> {
    let pipeline = vec![
        doc! { "$match": { MARK: { "$gt": 0 } } },
        doc! { "$group": { "_id": { "t": "$ticketId", "s": "$seq" }, "n": { "$sum": 1 } } },
        doc! { "$match": { "n": { "$gt": 1 } } },
    ];
    let then = "both are shown; Redis lost data once, or something else than the worker wrote here";
    let what = "numbers that more than one message of a ticket has";
    add(
        findings,
        total(store, "messages", what, pipeline, then).await?,
    );
    Ok(())
}

/// Adds a finding unless it is of nothing.
fn add(findings: &mut Vec<Finding>, finding: Finding) {
    if finding.count != Some(0) {
        findings.push(finding);
    }
}

fn number(document: &Document, key: &str) -> i64 {
    match document.get(key) {
        Some(Bson::Int32(number)) => i64::from(*number),
        Some(Bson::Int64(number)) => *number,
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a count is a small whole number"
        )]
        Some(Bson::Double(number)) => *number as i64,
        _ => 0,
    }
}

async fn total(
    store: &Store,
    collection: &str,
    what: &str,
    mut pipeline: Vec<Document>,
    then: &str,
) -> Result<Finding, Failure> {
    pipeline.push(doc! { "$group": { "_id": null, "n": { "$sum": 1 } } });
    let found = aggregate(store, collection, pipeline).await?;
    Ok(Finding {
        collection: collection.to_owned(),
        what: what.to_owned(),
        count: Some(found.first().map_or(0, |group| number(group, "n"))),
        then: then.to_owned(),
    })
}

/// The kinds of ids.
async fn ids(store: &Store, collection: &str, findings: &mut Vec<Finding>) -> Result<(), Failure> {
    let text = doc! { "$cond": [{ "$eq": [{ "$type": "$_id" }, "string"] }, "$_id", ""] };
    let hex = doc! { "$regexMatch": { "input": text, "regex": "^(?:[0-9a-f]{24}|[0-9A-F]{24})$" } };
    let group = doc! { "$group": {
        "_id": { "kind": { "$type": "$_id" }, "hex": hex }, "n": { "$sum": 1 }, "one": { "$first": "$_id" },
    } };
    for found in aggregate(store, collection, vec![group]).await? {
        let Ok(id) = found.get_document("_id") else {
            continue;
        };
        let kind = id.get_str("kind").unwrap_or("?");
        let (what, then) = match (kind, id.get_bool("hex").unwrap_or(false), collection) {
            ("objectId", _, _) => continue,
            ("string", true, "tickets") => (
                "ids that are texts".to_owned(),
                "found under both forms; stored under an ObjectId at the first touch, or by adopt",
            ),
            (_, false, "tickets") => (
                format!(
                    "ids that no request can name ({kind}, such as {})",
                    shown(found.get("one"))
                ),
                "not listed and not counted until adopt gives each an ObjectId that is derived from it",
            ),
            _ => (
                format!("ids of kind {kind}"),
                "kept; shown under an id that is derived from it",
            ),
        };
        findings.push(Finding {
            collection: collection.to_owned(),
            what,
            count: Some(number(&found, "n")),
            then: then.to_owned(),
        });
    }
    Ok(())
}

/// An id for people to see, cut short.
fn shown(id: Option<&Bson>) -> String {
    id.map(ToString::to_string)
        .unwrap_or_default()
        .chars()
        .take(40)
        .collect()
}

/// The forms of dates.
async fn dates(
    store: &Store,
    collection: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), Failure> {
    let read = doc! { "$ne": [date::expression("$createdAt"), null] };
    let group = doc! { "$group": {
        "_id": { "kind": { "$type": "$createdAt" }, "read": read }, "n": { "$sum": 1 },
    } };
    for found in aggregate(store, collection, vec![group]).await? {
        let Ok(id) = found.get_document("_id") else {
            continue;
        };
        let kind = id.get_str("kind").unwrap_or("?");
        let then = match (kind, id.get_bool("read").unwrap_or(false)) {
            ("date", _) => continue,
            (_, true) => "understood; a date after adopt",
            (_, false) => "not understood; the time of the document's id counts instead",
        };
        findings.push(Finding {
            collection: collection.to_owned(),
            what: format!("createdAt of kind {kind}"),
            count: Some(number(&found, "n")),
            then: then.to_owned(),
        });
    }
    Ok(())
}

/// The words in a field.
async fn values(
    store: &Store,
    (collection, field): (&str, &str),
    ours: impl Fn(&str) -> Option<&'static str>,
    findings: &mut Vec<Finding>,
) -> Result<(), Failure> {
    let group = doc! { "$group": { "_id": format!("${field}"), "n": { "$sum": 1 } } };
    let pipeline = vec![group, doc! { "$sort": { "n": -1 } }, doc! { "$limit": 50 }];
    let fallback = match field {
        "status" => "open",
        "priority" => "normal",
        _ => "user",
    };
    for found in aggregate(store, collection, pipeline).await? {
        let id = found.get("_id");
        let word = id.and_then(Bson::as_str);
        let then = match word.and_then(&ours) {
            Some(to) if Some(to) == word => continue,
            Some(to) => format!("is {to}; the word is kept under legacy when it is replaced"),
            None if matches!(id, None | Some(Bson::Null)) => format!("is {fallback}"),
            None => format!("not understood, is {fallback}; map it: {field}.<word> = \"…\""),
        };
        findings.push(Finding {
            collection: collection.to_owned(),
            what: format!("{field} {}", shown(id)),
            count: Some(number(&found, "n")),
            then,
        });
    }
    Ok(())
}

/// Internal notes and deleted messages, by the field that says so.
async fn marks(store: &Store, findings: &mut Vec<Finding>) -> Result<(), Failure> {
    let fields = words::INTERNAL.iter().chain(&words::DELETED);
    let group: Document = fields
        .clone()
        .map(|field| {
            let path = format!("${field}");
            let no = ["", "0", "false", "no"].map(Bson::from).to_vec();
            let mut untrue = vec![Bson::Null, false.into(), 0.into()];
            untrue.extend(no);
            let is = doc! { "$not": [{ "$in": [{ "$ifNull": [path, null] }, untrue] }] };
            (
                (*field).to_owned(),
                Bson::from(doc! { "$sum": { "$cond": [is, 1, 0] } }),
            )
        })
        .collect();
    let mut stage = doc! { "_id": null };
    stage.extend(group);
    let found = aggregate(store, "messages", vec![doc! { "$group": stage }]).await?;
    let counts: BTreeMap<&str, i64> = found.first().map_or_else(BTreeMap::new, |found| {
        fields.map(|field| (*field, number(found, field))).collect()
    });
    for (field, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        let then = if words::DELETED.contains(&field) {
            "deleted: not shown"
        } else {
            "internal: for agents only"
        };
        findings.push(Finding {
            collection: "messages".to_owned(),
            what: format!("marked {field}"),
            count: Some(count),
            then: then.to_owned(),
        });
    }
    Ok(())
}
