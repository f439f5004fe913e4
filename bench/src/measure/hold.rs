//! Holding many connections, in processes of their own: one process may not open as many files.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Duration,
};

use anyhow::Context as _;
use futures::{StreamExt, TryStreamExt, stream};
use ticket_shared::lifecycle::Lifecycle;
use tokio::time::sleep;

use super::{
    bed::{self, Bed},
    crowd::Crowd,
    message::Clock,
    wire::Wire,
};
use crate::{process::Process, wait::until};

/// How many connections one process holds.
const EACH: usize = 5_000;
/// How long they may take to be let in.
const JOINING: Duration = Duration::from_mins(5);

/// The processes, each with the file in which it says how many connections it holds.
pub(crate) struct Holders(Vec<(Process, PathBuf)>);

impl Holders {
    /// Lets two people into each ticket, and returns when all are in.
    ///
    /// # Errors
    /// Where they are not, in time.
    pub(crate) async fn join(bed: &Bed, directory: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let gateways: Vec<String> = bed.gateways.iter().map(ToString::to_string).collect();
        let mut holders = Vec::new();
        for (number, tickets) in bed.tickets.chunks(EACH / 2).enumerate() {
            let list = directory.join(format!("tickets-{number}"));
            std::fs::write(&list, tickets.join("\n"))?;
            let said = directory.join(format!("held-{number}"));
            let name = format!("holder-{number}");
            let mut process = Process::new(&name, &program, bed.gateways[0], directory)
                .arg(["--hold", &gateways.join(",")])
                .arg(["--hold-tickets", &list.display().to_string()])
                .arg(["--hold-says", &said.display().to_string()]);
            process.start()?;
            holders.push((process, said));
        }
        let holders = Self(holders);
        let people = bed.tickets.len() * 2;
        until("all idle connections are in", JOINING, async || {
            holders.held() == people
        })
        .await?;
        Ok(holders)
    }

    /// How many connections they say that they hold.
    pub(crate) fn held(&self) -> usize {
        let said = |(_, file): &(Process, PathBuf)| -> Option<usize> {
            std::fs::read_to_string(file).ok()?.parse().ok()
        };
        self.0.iter().filter_map(said).sum()
    }
}

/// Is such a process: joins, and says each second how many connections there still are, until it is ended.
///
/// # Errors
/// Where somebody is not let in, or it can't be said.
pub(crate) async fn hold(
    life: &Lifecycle,
    gateways: &[SocketAddr],
    tickets: &Path,
    says: &Path,
) -> anyhow::Result<()> {
    let tickets: Vec<String> = std::fs::read_to_string(tickets)?
        .lines()
        .map(str::to_owned)
        .collect();
    let people = tickets.len() * 2;
    let wires =
        stream::iter(0..people).map(|person| Wire::connect(gateways[person % gateways.len()]));
    let wires: Result<Vec<_>, _> = wires.buffered(bed::LANES).try_collect().await;
    let wires = bed::enter(&tickets, 2, wires.context("a client can't connect")?).await?;
    let crowd = Crowd::gather(life, Clock::start(), wires, 2);
    let new = says.with_extension("new");
    loop {
        let lost = crowd.tally.lost.load(Ordering::Relaxed);
        let held = people.saturating_sub(usize::try_from(lost)?);
        // In one piece for whoever reads it.
        std::fs::write(&new, held.to_string())?;
        std::fs::rename(&new, says)?;
        sleep(Duration::from_secs(1)).await;
    }
}
