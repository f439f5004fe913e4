//! One run: processes, tickets, load; then the end of it, read back and judged.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use serde_json::json;
use ticket_shared::{domain::UserType, id::Id, lifecycle::Lifecycle};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    history::{History, Position},
    judge::{Verdict, judge},
    load::{Load, Phase, Size},
    readback, rest,
    socket::Socket,
    stats::Stats,
    wait::until,
    world::{Programs, Shape, World},
};

mod witness;

pub(crate) use witness::ask;
use witness::witness;

/// How long the end of a run may take, for each of its conditions.
const SETTLING: Duration = Duration::from_secs(90);

/// What every run needs.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Owns the tasks.
    pub life: Lifecycle,
    /// The programs.
    pub programs: Programs,
    /// Where runs have their directories.
    pub directory: PathBuf,
    /// Outages are shorter, loads smaller.
    pub short: bool,
    /// How many acknowledged messages the long run is to reach.
    pub rotation: u64,
    /// Number of tickets that come to rest near the limit of Redis' memory.
    pub at_rest: u32,
}

/// A run that goes on.
pub(crate) struct Run {
    /// The processes.
    pub world: World,
    /// The clients.
    pub load: Load,
    /// The tickets.
    pub tickets: Vec<Id>,
    /// What did not come about as it should have; none of the judge's matters.
    pub failures: Vec<String>,
    /// Of each ticket, so many of the newest pages are compared at the end.
    pub pages: usize,
}

/// A run that is over.
pub(crate) struct Finished {
    /// What happened.
    pub history: History,
    /// Whether the promises were kept.
    pub verdict: Verdict,
    /// Sums.
    pub stats: Stats,
    /// What did not come about as it should have.
    pub failures: Vec<String>,
}

impl Run {
    /// Starts the processes, opens the tickets, and lets the clients in. They send once told to.
    ///
    /// # Errors
    /// Where something does not start.
    pub(crate) async fn begin(
        context: &Context,
        name: &str,
        shape: &Shape,
        size: Size,
    ) -> anyhow::Result<Self> {
        let directory = context.directory.join(name);
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        let mut world = World::start(&context.programs, &directory, &context.life, shape).await?;
        if shape.servers_last {
            world.absent_then_there().await?;
        }
        let mut run = Self::quiet(context, world, size).await?;
        run.load.tell(Phase::Sending);
        run.acks(u64::from(size.rate)).await?;
        Ok(run)
    }

    async fn quiet(context: &Context, world: World, size: Size) -> anyhow::Result<Self> {
        let gateways: Vec<String> = world
            .gateways
            .iter()
            .map(|gateway| gateway.address.to_string())
            .collect();
        let mut tickets = Vec::new();
        for number in 0..size.tickets {
            let body =
                json!({"subject": format!("Ticket {number}"), "userId": "u", "userName": "U"});
            let gateway = &gateways[number as usize % gateways.len()];
            let answer = rest::post(gateway, "/tickets", &body).await?;
            let id = answer["ticket"]["_id"]
                .as_str()
                .context("a ticket without an id")?;
            tickets.push(id.parse()?);
        }
        let patience = Duration::from_secs(5);
        let load = Load::start(&context.life, size, tickets.clone(), gateways, patience);
        until("all clients are in their tickets", SETTLING, async || {
            load.behind(None) == 0
        })
        .await?;
        Ok(Self {
            world,
            load,
            tickets,
            failures: Vec::new(),
            pages: 100,
        })
    }

    /// Waits until so many more messages are acknowledged.
    ///
    /// # Errors
    /// Where that takes too long.
    pub(crate) async fn acks(&mut self, more: u64) -> anyhow::Result<()> {
        let goal = self.load.acked() + more;
        let what = format!("{more} more messages are acknowledged");
        until(&what, SETTLING, async || self.load.acked() >= goal).await?;
        Ok(())
    }

    /// Lets an outage last.
    pub(crate) async fn lasts(&self, outage: Duration) {
        sleep(outage).await;
    }

    /// Now, on the clock of the history.
    pub(crate) fn mark(&self) -> u32 {
        self.load.shared.now()
    }

    /// Notes what did not come about.
    pub(crate) fn check(&mut self, holds: bool, what: impl Into<String>) {
        if !holds {
            self.failures.push(what.into());
        }
    }

    /// The same of a step that may fail.
    pub(crate) fn note<T>(&mut self, done: anyhow::Result<T>) -> Option<T> {
        done.map_err(|error| self.failures.push(format!("{error:#}")))
            .ok()
    }

    /// How many entries are in MongoDB; none while it can't be asked.
    pub(crate) async fn persisted(&self) -> u64 {
        let asked = async {
            let database = readback::open(&self.world.mongo_uri()).await.ok()?;
            readback::entries(&database).await.ok()
        };
        timeout(Duration::from_secs(20), asked)
            .await
            .ok()
            .flatten()
            .unwrap_or(0)
    }

    /// Waits until MongoDB holds at least so many entries.
    ///
    /// # Errors
    /// Where that takes longer than `deadline`.
    pub(crate) async fn persists(
        &self,
        entries: u64,
        deadline: Duration,
    ) -> anyhow::Result<Duration> {
        let what = format!("{entries} entries are in MongoDB");
        until(&what, deadline, async || self.persisted().await >= entries).await
    }

    /// Ends the run: everything acknowledged, everybody at the newest number, everything stored; then reads it
    /// all back and judges.
    ///
    /// # Errors
    /// Where what is there at the end can't be read.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Finished> {
        self.load.tell(Phase::Settling);
        let load = &self.load;
        let acked = until("everything is acknowledged", SETTLING, async || {
            load.unacked() == 0
        })
        .await;
        self.note(acked);
        let caught_up = self.caught_up().await;
        let heads = self.note(caught_up).unwrap_or_default();
        let total: u64 = heads.iter().map(|(_, all)| all.seq).sum();
        let drained = self.persists(total, SETTLING).await;
        self.note(drained);
        let settled = self.settled(&heads).await;
        self.note(settled);

        let database = readback::open(&self.world.mongo_uri()).await?;
        let mut history = History {
            clients: self.load.end().await,
            epochs: heads.iter().map(|(_, all)| all.epoch.clone()).collect(),
            stored: readback::stored(&database, &self.tickets).await?,
            rest: Vec::new(),
        };
        for gateway in &self.world.gateways {
            let address = gateway.address.to_string();
            history
                .rest
                .push(readback::shown(&address, &self.tickets, self.pages).await?);
        }
        Ok(Finished {
            verdict: judge(&history),
            stats: Stats::of(&history),
            history,
            failures: self.failures,
        })
    }

    /// Waits until every client is where its tickets are, by itself.
    async fn caught_up(&self) -> anyhow::Result<Vec<(Position, Position)>> {
        let began = Instant::now();
        loop {
            // Again each time: a change whose answer was lost may come late.
            let heads = timeout(SETTLING, self.heads()).await??;
            let behind = self.load.behind(Some(&heads));
            if behind == 0 {
                return Ok(heads);
            }
            if began.elapsed() > SETTLING {
                self.load.tell(Phase::Settling);
                tracing::warn!(behind, "views behind their tickets");
                return Ok(heads);
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until every ticket's document is at its newest number: unlike messages, it is overwritten.
    async fn settled(&self, heads: &[(Position, Position)]) -> anyhow::Result<()> {
        let database = readback::open(&self.world.mongo_uri()).await?;
        until(
            "every ticket's document is up to date",
            SETTLING,
            async || {
                let Ok(seqs) = readback::seqs(&database, &self.tickets).await else {
                    return false;
                };
                seqs.iter()
                    .zip(heads)
                    .all(|(seq, (_, all))| *seq >= all.seq)
            },
        )
        .await?;
        Ok(())
    }

    /// Where each ticket is, for a customer and for an agent, as somebody who comes now is told.
    pub(crate) async fn heads(&self) -> anyhow::Result<Vec<(Position, Position)>> {
        let address = self.world.gateways[0].address.to_string();
        let mut heads = Vec::with_capacity(self.tickets.len());
        let (mut user, mut agent) = (
            Socket::connect(&address).await?,
            Socket::connect(&address).await?,
        );
        for (number, ticket) in (1..).zip(&self.tickets) {
            let seen = witness(&mut user, number, *ticket, UserType::User).await?;
            heads.push((
                seen,
                witness(&mut agent, number, *ticket, UserType::Agent).await?,
            ));
        }
        Ok(heads)
    }
}
