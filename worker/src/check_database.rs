//! `ticket-worker check-database`: what another server left in the database, and what will become of it. It reads, and
//! changes nothing.

use std::io::Write;

use clap::Args;
use mongodb::bson::{Document, doc};
use serde::Serialize;
use ticket_shared::lifecycle::Lifecycle;

use crate::{
    AdoptError, Config,
    obstacles::{self, batch},
    store::{Failure, Store},
};

mod names;
mod values;

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
    values::census(store, &mut findings).await?;
    let mapping = names::census(store, sample, &mut findings).await?;
    Ok((findings, mapping))
}

async fn aggregate(
    store: &Store,
    collection: &str,
    pipeline: Vec<Document>,
) -> Result<Vec<Document>, Failure> {
    let command = doc! {
        "aggregate": collection, "pipeline": pipeline, "cursor": { "batchSize": 1_000 }, "allowDiskUse": true,
    };
    Ok(batch(&store.run(command).await?))
}
