//! `dead show`: all that is known of an entry.

use std::io::{self, Write};

use clap::Args;
use ticket_shared::{
    config::BadSetting,
    stream::{Change, Entry},
    time::Time,
};

use super::{
    desk::{DeadError, Desk},
    entry::{EntryId, Parked, plain},
};

/// Which entries are shown, and how much of them.
#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub struct Show {
    /// Ids as `dead list` shows them
    #[arg(value_name = "ID")]
    pub ids: Vec<EntryId>,
    /// Show the fields as they are, too: they may hold what people wrote
    #[arg(long)]
    pub content: bool,
}

impl Show {
    pub(super) fn check(&self) -> Result<(), BadSetting> {
        if self.ids.is_empty() {
            return Err(BadSetting::new("ID", "say which entry to show"));
        }
        Ok(())
    }
}

pub(super) async fn perform(
    show: &Show,
    desk: &Desk,
    out: &mut impl Write,
) -> Result<(), DeadError> {
    let mut missing = Vec::new();
    for &id in &show.ids {
        match desk.find(id).await? {
            Some(entry) => write_entry(&entry, show.content, out)?,
            None => missing.push(id),
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(DeadError::NotParked(missing))
    }
}

fn write_entry(parked: &Parked, content: bool, out: &mut impl Write) -> io::Result<()> {
    let about = &parked.about;
    let mut rows = vec![
        ("id", Some(parked.id.to_string())),
        ("parked", parked.at.map(|at| at.to_string())),
        ("reason", parked.reason.clone()),
        ("tries", parked.tries.map(|tries| tries.to_string())),
        ("entry", parked.origin.clone()),
        ("format", about.version.map(|version| version.to_string())),
        ("kind", about.kind.clone()),
        ("ticket", about.ticket.map(|ticket| ticket.to_string())),
        ("seq", about.seq.map(|seq| seq.to_string())),
    ];
    if let Some(entry) = &about.entry {
        rows.extend(details(entry));
    }
    for (name, value) in rows {
        if let Some(value) = value {
            writeln!(out, "{name:<16}{value}")?;
        }
    }
    for (name, value) in &parked.fields {
        // The name of a field that is none of ours may be anything, too.
        let name = if content || name.len() == 1 {
            plain(name)
        } else {
            "(another)".to_owned()
        };
        let value = if content {
            plain(value)
        } else {
            format!("{} bytes, shown with --content", value.len())
        };
        writeln!(out, "{:<16}{value}", format!("field {name}"))?;
    }
    writeln!(out)
}

/// What a whole entry tells besides.
fn details(entry: &Entry) -> Vec<(&'static str, Option<String>)> {
    let mut rows = vec![
        ("accepted", Some(Time(entry.at).to_string())),
        ("epoch", Some(plain(entry.epoch.as_bytes()))),
        ("visible to", Some(audience(entry).to_owned())),
    ];
    if let Change::Message(message) = &entry.change {
        let client = message.client_message_id.as_deref();
        rows.extend([
            ("message", Some(message.id.to_string())),
            ("sender", Some(plain(message.sender_id.as_bytes()))),
            (
                "sender's side",
                Some(message.sender_type.as_str().to_owned()),
            ),
            ("client's id", client.map(|id| plain(id.as_bytes()))),
            (
                "characters",
                Some(message.content.chars().count().to_string()),
            ),
        ]);
    }
    rows
}

fn audience(entry: &Entry) -> &'static str {
    if entry.internal() {
        "agents"
    } else {
        "everybody"
    }
}
