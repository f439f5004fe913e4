//! Everybody comes back at once.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Told, skipped, under};
use crate::{
    load::Size,
    measure::peak,
    process::{Process, Signal, open_files},
    report::Row,
    rest,
    run::{Context, Run},
    wait::until,
    world::Shape,
};

/// How many new connections a second each gateway lets in.
const RATE: u32 = 100;
/// How many more than that at once: what it saved up while nobody came.
const BURST: u32 = 2 * RATE;
/// How many files are open for other reasons.
const OTHER_FILES: u64 = 300;
/// Within which time everybody must be back.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is looked how many are back.
const LOOK: Duration = Duration::from_millis(100);

/// Many who write seldom.
const SIZE: Size = Size {
    tickets: 100,
    customers: 25,
    agents: 8,
    spread: 1,
    rate: 40,
    window: 4,
};
/// How many clients that are.
const CLIENTS: u32 = SIZE.tickets * SIZE.customers + SIZE.agents;
/// How many memberships in tickets: each ticket has two agents besides its customers.
const VIEWS: usize = (SIZE.tickets * (SIZE.customers + 2)) as usize;

/// How many sockets one gateway says that it has, over time.
struct Watched {
    ops: SocketAddr,
    started: Instant,
    seen: Vec<(Duration, f64)>,
}

impl Watched {
    fn from_now(ops: SocketAddr) -> Self {
        Self {
            ops,
            started: Instant::now(),
            seen: Vec::new(),
        }
    }

    async fn look(&mut self) {
        if let Ok(sockets) = rest::metric(&self.ops.to_string(), "ticket_gateway_sockets ").await {
            self.seen.push((self.started.elapsed(), sockets));
        }
    }

    /// The most that came in a second, of any second or longer.
    fn fastest(&self) -> f64 {
        let rates = self
            .seen
            .iter()
            .enumerate()
            .filter_map(|(place, (at, sockets))| {
                let second = *at + Duration::from_secs(1);
                let (then, more) = self.seen[place..].iter().find(|(at, _)| *at >= second)?;
                Some((more - sockets) / then.saturating_sub(*at).as_secs_f64())
            });
        rates.fold(0.0, f64::max)
    }

    /// By how many more than the rate allows were ever there. It is looked after they came, so this is never too much.
    fn excess(&self) -> f64 {
        let allowed = |at: Duration| f64::from(BURST) + f64::from(RATE) * at.as_secs_f64();
        let excess = self.seen.iter().map(|(at, sockets)| sockets - allowed(*at));
        excess.fold(0.0, f64::max)
    }
}

/// Waits until 99 % and all of the memberships are there again, and says when that was.
async fn all_back(run: &Run, watched: &mut [Watched]) -> (Option<Duration>, Option<Duration>) {
    let began = Instant::now();
    let mut most = None;
    while began.elapsed() < PATIENCE {
        for gateway in &mut *watched {
            gateway.look().await;
        }
        let behind = run.load.behind(None);
        if behind <= VIEWS / 100 {
            most = most.or(Some(began.elapsed()));
        }
        if behind == 0 {
            return (most, Some(began.elapsed()));
        }
        sleep(LOOK).await;
    }
    (most, None)
}

/// How often clients were not let in since the run began: told when to come again, and not told.
fn turned_away(run: &Run) -> (u64, u64) {
    let shared = &run.load.shared;
    (
        shared.turned_away.load(Ordering::Relaxed),
        shared.turned_away_blindly.load(Ordering::Relaxed),
    )
}

pub(super) async fn all_at_once(context: Context) -> anyhow::Result<Row> {
    if open_files().is_some_and(|most| most < u64::from(CLIENTS) + OTHER_FILES) {
        return Ok(skipped(format!(
            "{CLIENTS} connections need more open files than `ulimit -n` allows"
        )));
    }
    let shape = Shape {
        gateway_env: vec![("CONNECT_RATE", RATE.to_string())],
        ..Shape::default()
    };
    let mut row = under(&context, "F27", shape, SIZE, async |run| {
        // Whatever is served from now on is served without it.
        run.world.mongo.signal(Signal::Stop)?;
        run.world.gateways.iter_mut().for_each(Process::kill);
        until("all are cut off", PATIENCE, async || {
            run.load.behind(None) == VIEWS
        })
        .await?;
        let (before, acked) = (turned_away(run), run.load.acked());
        let mut watched = Vec::new();
        for (gateway, ops) in run.world.gateways.iter_mut().zip(&run.world.ops) {
            gateway.start()?;
            watched.push(Watched::from_now(*ops));
        }
        let (most, all) = all_back(run, &mut watched).await;
        let (after, acked) = (turned_away(run), run.load.acked() - acked);
        let (told, untold) = (after.0 - before.0, after.1 - before.1);
        run.check(all.is_some(), format!("{} of {VIEWS} not back", run.load.behind(None)));
        run.check(told > 0, "nobody was told to come later");
        run.check(untold == 0, format!("{untold} turned away without `Retry-After`"));
        run.check(acked > 0, "nothing acknowledged meanwhile");
        for gateway in &watched {
            let excess = gateway.excess();
            run.check(excess <= 0.0, format!("{excess:.0} let in beyond the rate"));
        }
        let memory = run.world.gateways.iter().filter_map(|gateway| peak(gateway.id()?));
        let memory = memory.fold(0.0, f64::max) / 1_048_576.0;
        run.world.mongo.signal(Signal::Continue)?;
        run.acks(40).await?;
        let fastest = watched.iter().map(Watched::fastest).fold(0.0, f64::max);
        let seconds = |time: Option<Duration>| time.unwrap_or(PATIENCE).as_secs_f32();
        Ok(Told::new(format!(
            "both gateways killed (-9) under {CLIENTS} clients in {} tickets, who all come back at once, and MongoDB \
             stopped (SIGSTOP) until they are back; each gateway lets {RATE} a second in (`CONNECT_RATE`), and {BURST} \
             more at once",
            SIZE.tickets
        ))
        .figure(format!(
            "99 % back in their tickets {:.1} s after the gateways' start, all after {:.1} s",
            seconds(most),
            seconds(all)
        ))
        .figure(format!("503 with `Retry-After` {told} times"))
        .figure(format!("{acked} messages acknowledged meanwhile"))
        .figure(format!(
            "one gateway let in {fastest:.0} a second at most, and had {memory:.0} MiB resident at most"
        )))
    })
    .await?;
    if row.stats.reloaded > 0 {
        row.failures.push("not everybody resumed".into());
    }
    Ok(row)
}
