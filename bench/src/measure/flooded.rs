//! One client that sends far more than it may, into a ticket of others: in a process of its own, and a nice one, so
//! that what its side costs is no part of what is measured.

use std::{
    cell::Cell,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use ticket_shared::lifecycle::Lifecycle;
use tokio::time::sleep;

use super::{
    bed::{Bed, Context, Side},
    open::{Figures, real},
    readers::{Phases, Readers, TICKETS, pairs},
};
use crate::{
    flood::{self, Flood},
    process::{Process, find},
    wait::until,
};

/// As they are by default.
const LIMITS: &[(&str, &str)] = &[("EVENT_RATE", "50"), ("ABUSE_LIMIT", "500")];
/// How long the flood may take to begin, and to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs it once.
///
/// # Errors
/// Where it can't be run, or a message of the readers can't be sent.
pub(crate) async fn run(context: &Context, side: Side) -> anyhow::Result<Figures> {
    let bed = Bed::limited(context, side, LIMITS, TICKETS).await?;
    let mut readers = Readers::gather(context, &bed).await?;
    let (mut phases, mut floods) = (Phases::default(), Vec::new());
    for number in 0..pairs(context) {
        phases.without.push(readers.phase().await?);
        let flooder = Flooder::start(&bed, &context.directory, number).await?;
        phases.with.push(readers.phase().await?);
        floods.push(flooder.end().await?);
    }
    let mut figures = phases.figures(readers.leave().await);
    let sum = |of: fn(&Flood) -> u64| real(floods.iter().map(of).sum());
    figures.extend([
        ("flood sent", sum(|flood| flood.sent)),
        ("flood accepted", sum(|flood| flood.accepted)),
        ("flood refused", sum(|flood| flood.limited)),
        ("flood cut off", sum(|flood| flood.cut)),
        ("flood turned away", sum(|flood| flood.turned_away)),
    ]);
    Ok(figures)
}

/// The process, and the file in which it says what comes of it.
struct Flooder(Process, PathBuf);

impl Flooder {
    /// Starts it, and returns once it is refused: from then on it floods.
    async fn start(bed: &Bed, directory: &Path, number: usize) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let (gateway, ticket) = (bed.gateways[0], &bed.tickets[0]);
        let says = directory.join(format!("flood-{number}"));
        let name = format!("flooder-{number}");
        let process = match find("NICE_BIN", &["nice"], &[]) {
            Some(nice) => Process::new(&name, &nice, gateway, directory)
                .arg(["-n", "10"])
                .arg([program.display()]),
            None => Process::new(&name, &program, gateway, directory),
        };
        let mut process = process
            .arg(["--flood", &gateway.to_string()])
            .arg(["--flood-ticket", ticket])
            .arg(["--flood-says", &says.display().to_string()]);
        process.start()?;
        let flooder = Self(process, says);
        until("the flood is refused", PATIENCE, async || {
            let told = flooder.told();
            told.is_some_and(|flood| flood.limited + flood.turned_away > 0)
        })
        .await?;
        Ok(flooder)
    }

    fn told(&self) -> Option<Flood> {
        Flood::decode(&std::fs::read_to_string(&self.1).ok()?)
    }

    /// Ends it.
    async fn end(mut self) -> anyhow::Result<Flood> {
        self.0.stop(PATIENCE).await?;
        Ok(self.told().unwrap_or_default())
    }
}

/// Is such a process: floods until it is asked to end, and says what comes of it.
///
/// # Errors
/// Where it can't be said.
pub(crate) async fn flood(
    life: &Lifecycle,
    gateway: SocketAddr,
    ticket: &str,
    says: &Path,
) -> anyhow::Result<()> {
    let told = Cell::new(Flood::default());
    let new = says.with_extension("new");
    let say = || {
        // In one piece for whoever reads it.
        std::fs::write(&new, told.get().encode())?;
        std::fs::rename(&new, says)
    };
    let gateway = gateway.to_string();
    let mut flooding = pin!(flood::flood(&gateway, ticket, &told));
    let mut stopped = pin!(life.until_stopped());
    loop {
        tokio::select! {
            never = &mut flooding => match never {},
            stopped = &mut stopped => {
                stopped?;
                say()?;
                return Ok(());
            }
            () = sleep(Duration::from_millis(100)) => say()?,
        }
    }
}
