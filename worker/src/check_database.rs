//! `ticket-worker check-database`: what another server left in the database, and what will become of it. It reads, and
//! changes nothing.

use std::{collections::BTreeMap, io::Write};

use clap::Args;
use mongodb::bson::{Bson, Document, doc};
use serde::Serialize;
use ticket_mongo::{MARK, date, words};
use ticket_shared::{
    domain::{Priority, Status, UserType},
    lifecycle::Lifecycle,
};

use crate::{
    AdoptError, Config,
    obstacles::{self, batch},
    store::{Failure, Store},
};

mod names;

/// How the database is looked at.
#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub struct CheckDatabase {
    /// One JSON object a line instead of text
    #[arg(long)]
    pub json: bool,
    /// How many documents of each collection are looked at for the names of their fields: half of them its first, half
    /// its last
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub sample: u32,
}

/// Something that was found.
#[derive(Serialize, Debug)]
struct Finding {
    collection: String,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<i64>,
    then: String,
}

/// Looks, and says what it saw on `out`.
///
/// # Errors
/// If MongoDB can't be asked, or the answer can't be written.
pub(crate) async fn perform(
    check: &CheckDatabase,
    config: &Config,
    life: &Lifecycle,
    out: &mut impl Write,
) -> Result<(), AdoptError> {
    let store = Store::open(&config.common.mongo_uri, life.clone()).await;
    let store = store.map_err(|error| Failure::of(&error))?;
    let looked = look(&store, check.sample).await;
    store.close().await;
    let (findings, mapping) = looked?;
    for finding in &findings {
        if check.json {
            // It holds nothing that could not be written.
            writeln!(
                out,
                "{}",
                serde_json::to_string(finding).unwrap_or_default()
            )?;
            continue;
        }
        let Finding {
            collection,
            what,
            count,
            then,
        } = finding;
        let count = count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        writeln!(out, "{collection:<9} {count:>10}  {what}: {then}")?;
    }
    if !check.json && !mapping.is_empty() {
        writeln!(
            out,
            "\nA mapping file for adopt --map, to be checked by you:\n"
        )?;
        for line in mapping {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

async fn look(store: &Store, sample: u32) -> Result<(Vec<Finding>, Vec<String>), Failure> {
    let mut findings = Vec::new();
    for obstacle in obstacles::find(store).await? {
        findings.push(Finding {
            collection: obstacle.collection.clone(),
            what: "in the way".to_owned(),
            count: None,
            then: obstacle.to_string(),
        });
    }
    for collection in ["tickets", "messages"] {
        let own = doc! { "$match": { MARK: { "$gt": 0 } } };
        findings.push(total(store, collection, "documents", vec![], "").await?);
        let then = "numbered by this product already";
        findings.push(total(store, collection, "numbered", vec![own], then).await?);
        ids(store, collection, &mut findings).await?;
        dates(store, collection, &mut findings).await?;
    }
    values(
        store,
        ("tickets", "status"),
        |word| words::status(word).map(Status::as_str),
        &mut findings,
    )
    .await?;
    values(
        store,
        ("tickets", "priority"),
        |word| words::priority(word).map(Priority::as_str),
        &mut findings,
    )
    .await?;
    values(
        store,
        ("messages", "senderType"),
        |word| words::side(word).map(UserType::as_str),
        &mut findings,
    )
    .await?;
    marks(store, &mut findings).await?;
    let mapping = names::census(store, sample, &mut findings).await?;
    Ok((findings, mapping))
}

async fn aggregate(
    store: &Store,
    collection: &str,
    pipeline: Vec<Document>,
) -> Result<Vec<Document>, Failure> {
    let command = doc! {
        "aggregate": collection, "pipeline": pipeline, "cursor": { "batchSize": 1_000 },
    };
    Ok(batch(&store.run(command).await?))
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
