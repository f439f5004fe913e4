//! `dead replay`: parked entries go back to the workers.
//!
//! Each goes back into the stream that it came from and out of the dead stream in one step, so that a crash
//! neither loses nor doubles it. It is read anew, and parked anew where nothing has changed.

use std::io::Write;

use clap::Args;
use fred::types::Value;
use ticket_shared::config::BadSetting;

use super::{
    desk::{DeadError, Desk, PAGE},
    entry::{EntryId, Parked},
};
use crate::{
    script::{Call, Script},
    stream_id::StreamId,
};

/// Which entries go back.
#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub struct Replay {
    /// Ids as `dead list` shows them
    #[arg(value_name = "ID")]
    pub ids: Vec<EntryId>,
    /// All that are parked when the command begins
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
    /// Of all, those whose reason begins so: newer, malformed, refused, "refused: MongoDB error 121"
    #[arg(long)]
    pub reason: Option<String>,
}

impl Replay {
    pub(super) fn check(&self) -> Result<(), BadSetting> {
        if self.reason.is_some() && !self.all {
            return Err(BadSetting::new("--reason", "goes with --all only"));
        }
        if self.ids.is_empty() && !self.all {
            return Err(BadSetting::new(
                "ID",
                "say which entries to replay, or --all",
            ));
        }
        Ok(())
    }

    fn wants(&self, entry: &Parked) -> bool {
        let reason = entry.reason.as_deref().unwrap_or_default();
        self.reason
            .as_deref()
            .is_none_or(|beginning| reason.starts_with(beginning))
    }
}

/// Sends entries back, and keeps count.
struct Returning<'a> {
    desk: &'a Desk,
    script: Script,
    done: u64,
    missing: Vec<EntryId>,
    foreign: Vec<EntryId>,
}

pub(super) async fn perform(
    replay: &Replay,
    desk: &Desk,
    out: &mut impl Write,
) -> Result<(), DeadError> {
    let mut returning = Returning {
        desk,
        script: Script::new(include_str!("replay.lua")),
        done: 0,
        missing: Vec::new(),
        foreign: Vec::new(),
    };
    let sent = if replay.all {
        returning.send_all(replay, out).await
    } else {
        returning.send_named(&replay.ids, out).await
    };
    say(out, &format!("{} replayed", returning.done));
    sent?;
    if !returning.foreign.is_empty() {
        return Err(DeadError::Foreign(returning.foreign));
    }
    // Of all, somebody else may have taken some meanwhile.
    if !returning.missing.is_empty() && !replay.all {
        return Err(DeadError::NotParked(returning.missing));
    }
    Ok(())
}

impl Returning<'_> {
    async fn send_named(&mut self, ids: &[EntryId], out: &mut impl Write) -> Result<(), DeadError> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        for ids in ids.chunks(PAGE) {
            self.send(ids, out).await?;
        }
        Ok(())
    }

    /// Ends at what is the newest now: what is parked anew in the meantime would make it endless.
    async fn send_all(&mut self, replay: &Replay, out: &mut impl Write) -> Result<(), DeadError> {
        for partition in 0..self.desk.keys.partitions() {
            let newest = self.desk.newest(partition).await?;
            let mut from = newest.map(|_| StreamId { ms: 0, seq: 0 });
            while let Some(start) = from {
                let page = self.desk.page(partition, start, newest, PAGE).await?;
                from = page.last().and_then(|last| last.id.place.next());
                let wanted = page.iter().filter(|entry| replay.wants(entry));
                let ids: Vec<EntryId> = wanted.map(|entry| entry.id).collect();
                self.send(&ids, out).await?;
                from = from.filter(|&from| newest.is_some_and(|newest| from <= newest));
            }
        }
        Ok(())
    }

    async fn send(&mut self, ids: &[EntryId], out: &mut impl Write) -> Result<(), DeadError> {
        let keys = &self.desk.keys;
        let calls: Vec<Call> = ids
            .iter()
            .map(|id| Call {
                keys: vec![keys.dead(id.partition), keys.events(id.partition)],
                args: vec![id.place.to_string().into()],
            })
            .collect();
        let answers = self.script.run(&self.desk.redis, &calls).await;
        let mut failed = None;
        for (&id, answer) in ids.iter().zip(answers) {
            match answer {
                Ok(Value::Integer(0)) => self.missing.push(id),
                Ok(Value::Integer(_)) => self.foreign.push(id),
                Ok(answer) => {
                    self.done += 1;
                    let new = answer.as_string().unwrap_or_default();
                    say(out, &format!("{id} replayed as entry {new}"));
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// What was done is done, whether or not somebody reads of it.
fn say(out: &mut impl Write, what: &str) {
    let _ = writeln!(out, "{what}");
}
