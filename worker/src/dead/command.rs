//! What operators may ask for: the table of `ticket-worker dead`.

use std::io::Write;

use clap::Subcommand;
use ticket_shared::config::{BadSetting, Common};

use super::{
    desk::{DeadError, Desk},
    drop::{self, Drop},
    list::{self, List},
    replay::{self, Replay},
    show::{self, Show},
};

/// What to do with parked entries. Settings such as `REDIS_URL`, `KEY_PREFIX` and `PARTITIONS` must be those of the
/// workers; flags for them stand before `dead`.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum DeadCommand {
    /// List them, one a line: id, when parked, reason, tries, and where it can be read what it is, of which
    /// ticket and which number there
    List(List),
    /// Show all that is known of entries, but the words of people only when asked to
    Show(Show),
    /// Hand entries to the workers once more, after what was in their way is gone
    Replay(Replay),
    /// Remove entries for good
    Drop(Drop),
}

impl DeadCommand {
    /// Checks what clap can't.
    pub(crate) fn check(&self, partitions: u16) -> Result<(), BadSetting> {
        match self {
            Self::List(list) => list.check(partitions),
            Self::Show(show) => show.check(),
            Self::Replay(replay) => replay.check(),
            Self::Drop(drop) => drop.check(),
        }
    }
}

/// Does it, and says on `out` what was done.
///
/// # Errors
/// Where Redis can't be reached, or an entry is not there.
pub(crate) async fn perform(
    command: &DeadCommand,
    settings: &Common,
    out: &mut impl Write,
) -> Result<(), DeadError> {
    let desk = Desk::open(settings).await?;
    let done = match command {
        DeadCommand::List(list) => list::perform(list, &desk, out).await,
        DeadCommand::Show(show) => show::perform(show, &desk, out).await,
        DeadCommand::Replay(replay) => replay::perform(replay, &desk, out).await,
        DeadCommand::Drop(drop) => drop::perform(drop, &desk, out).await,
    };
    desk.close().await;
    match done {
        // Whoever reads has seen enough.
        Err(DeadError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}
