//! `dead drop`: parked entries are removed for good.

use std::io::Write;

use clap::Args;
use fred::interfaces::StreamsInterface;
use ticket_shared::config::BadSetting;

use super::{
    desk::{DeadError, Desk},
    entry::EntryId,
    list,
};
use crate::watermark::Watermark;

/// Which entries are removed.
#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub struct Drop {
    /// Ids as `dead list` shows them
    #[arg(value_name = "ID")]
    pub ids: Vec<EntryId>,
    /// Yes, they are to be lost
    #[arg(long)]
    pub yes: bool,
}

impl Drop {
    pub(super) fn check(&self) -> Result<(), BadSetting> {
        if self.ids.is_empty() {
            return Err(BadSetting::new("ID", "say which entries to drop"));
        }
        if !self.yes {
            let problem = "is missing: what is dropped is lost, and nothing was dropped";
            return Err(BadSetting::new("--yes", problem));
        }
        Ok(())
    }
}

pub(super) async fn perform(
    drop: &Drop,
    desk: &Desk,
    out: &mut impl Write,
) -> Result<(), DeadError> {
    let watermark = Watermark::new(desk.keys.clone(), desk.hot_for);
    let mut missing = Vec::new();
    for &id in &drop.ids {
        let Some(entry) = desk.find(id).await? else {
            missing.push(id);
            continue;
        };
        // Its ticket would wait for it for ever, and stay in Redis. That comes first: an entry that is parked
        // still can be dropped again.
        let settled = entry.settles();
        let settled = settled.map(|(ticket, range)| (ticket, Some(range)));
        watermark.raise(&desk.redis, settled).await?;
        let key = desk.keys.dead(id.partition);
        let removed: i64 = desk.redis.xdel(key, id.place.to_string()).await?;
        if removed == 0 {
            missing.push(id);
            continue;
        }
        // What was done is done, whether or not somebody reads of it.
        let _ = writeln!(out, "dropped\t{}", list::line(&entry, false));
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(DeadError::NotParked(missing))
    }
}
