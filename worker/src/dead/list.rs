//! `dead list`: what is parked, one line an entry.

use std::io::Write;

use clap::Args;
use serde::Serialize;
use ticket_shared::{
    config::{BadSetting, complain},
    id::Id,
    time::Time,
};

use super::{
    desk::{DeadError, Desk, PAGE},
    entry::Parked,
};
use crate::stream_id::StreamId;

/// Which entries are listed, and how.
#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub struct List {
    /// Only those of this partition
    #[arg(long)]
    pub partition: Option<u16>,
    /// At most so many; 0 lists all
    #[arg(long, default_value_t = 100)]
    pub limit: u64,
    /// One JSON object a line instead of columns between tabs
    #[arg(long)]
    pub json: bool,
}

impl List {
    pub(super) fn check(&self, partitions: u16) -> Result<(), BadSetting> {
        match self.partition {
            Some(partition) if partition >= partitions => {
                let problem = format!("there are only {partitions}, from 0");
                Err(BadSetting::new("--partition", problem))
            }
            _ => Ok(()),
        }
    }
}

/// What a line says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    id: String,
    parked_at: Option<Time>,
    reason: Option<&'a str>,
    tries: Option<u64>,
    kind: Option<&'a str>,
    ticket_id: Option<Id>,
    seq: Option<u64>,
}

pub(super) async fn perform(
    list: &List,
    desk: &Desk,
    out: &mut impl Write,
) -> Result<(), DeadError> {
    let partitions = match list.partition {
        Some(partition) => partition..partition + 1,
        None => 0..desk.keys.partitions(),
    };
    let (mut all, mut shown) = (0, 0);
    for partition in partitions {
        all += desk.length(partition).await?;
        let mut from = Some(StreamId { ms: 0, seq: 0 });
        while let Some(start) = from {
            let room = match list.limit {
                0 => PAGE,
                limit => usize::try_from(limit - shown).map_or(PAGE, |left| left.min(PAGE)),
            };
            if room == 0 {
                break;
            }
            let page = desk.page(partition, start, None, room).await?;
            from = page.last().and_then(|last| last.id.place.next());
            for entry in &page {
                writeln!(out, "{}", line(entry, list.json))?;
            }
            shown += page.len() as u64;
        }
    }
    if shown < all {
        complain_of_rest(shown, all);
    }
    Ok(())
}

/// A list that ends early must not pass for all there is.
fn complain_of_rest(shown: u64, all: u64) {
    complain(&format!("{shown} of {all} shown; --limit 0 lists all"));
}

/// What `list` shows of an entry.
pub(super) fn line(entry: &Parked, json: bool) -> String {
    let line = Line {
        id: entry.id.to_string(),
        parked_at: entry.at,
        reason: entry.reason.as_deref(),
        tries: entry.tries,
        kind: entry.about.kind.as_deref(),
        ticket_id: entry.about.ticket,
        seq: entry.about.seq,
    };
    if json {
        // It holds nothing that could not be written.
        return serde_json::to_string(&line).unwrap_or_default();
    }
    let unknown = || "-".to_owned();
    [
        line.id,
        line.parked_at.map_or_else(unknown, |at| at.to_string()),
        line.reason.map_or_else(unknown, str::to_owned),
        line.tries.map_or_else(unknown, |tries| tries.to_string()),
        line.kind.map_or_else(unknown, str::to_owned),
        line.ticket_id.map_or_else(unknown, |id| id.to_string()),
        line.seq.map_or_else(unknown, |seq| seq.to_string()),
    ]
    .join("\t")
}
