//! The faults, by name, and how a run goes through one.

use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use anyhow::Context as _;

use crate::{
    judge::Fault as Broken,
    load::Size,
    process::Process,
    report::{self, Row},
    run::{Context, Run},
    stats,
    world::Shape,
};

mod clients;
mod couple;
mod crowd;
mod descriptors;
mod disk;
mod forgets;
mod frames;
mod gateways;
mod idle;
mod managed;
mod memory;
mod mongo;
mod poison;
mod reconnect;
mod redis;
mod refusals;
mod rotation;
mod shedding;
mod workers;

/// One fault.
pub(crate) struct Fault {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Whether it is part of the short selection.
    pub short: bool,
    run: fn(Context) -> Going,
}

type Going = Pin<Box<dyn Future<Output = anyhow::Result<Row>>>>;

macro_rules! table {
    ($($name:literal $short:literal $what:literal $run:path;)*) => {
        &[$(Fault { name: $name, what: $what, short: $short, run: |context| Box::pin($run(context)) }),*]
    };
}

/// Every fault, in the order of the report.
pub(crate) const ALL: &[Fault] = table! {
    "none" false "no fault" rotation::none;
    "F1" true "gateway killed" gateways::killed;
    "F2" false "gateway stopped, then continued" gateways::stopped;
    "F3" true "worker killed in mid-batch" workers::killed;
    "F4" false "worker hangs and comes back late" workers::hangs;
    "F5" true "Redis killed and restarted with AOF" redis::restarted;
    "F5t" true "Redis loses the end of its append-only file" forgets::tail;
    "F5g" false "the same, and a gateway dies with it" forgets::with_its_gateway;
    "F6" false "Redis restarted empty" redis::emptied;
    "F7" false "Redis fails over to a replica that lags" redis::failed_over;
    "F7r" false "the same, with `DURABILITY=replica`" redis::failed_over_confirmed;
    "F8" false "Redis without enough replicas" redis::lonely;
    "F9" false "Redis out of memory" redis::out_of_memory;
    "F10" false "Redis can't save" disk::no_snapshots;
    "F10f" false "Redis' disk is full" disk::full;
    "F11" true "Redis stopped" redis::stopped;
    "F12" true "MongoDB down under load" mongo::down;
    "F13" false "MongoDB down until Redis is full" mongo::down_until_full;
    "F14" false "MongoDB slow" mongo::slow;
    "F15" false "unknown outcome of writes" mongo::unknown;
    "F15s" false "MongoDB steps down" mongo::steps_down;
    "F16" false "poison entries" poison::undecodable;
    "F17" false "entries of a newer format" poison::newer;
    "F18" true "the same send twice at once, on two gateways" clients::twins;
    "F19" false "two agents change the status at once" clients::rivals;
    "F20" false "a gateway's clock 10 minutes off" gateways::clock;
    "F21" false "no file descriptors left" descriptors::exhausted;
    "F21e" false "one address opens empty connections" descriptors::empty;
    "F22" false "clients that read nothing" crowd::slow;
    "F22c" false "control frames without end" frames::pings;
    "F22a" false "events left unfinished" frames::attachments;
    "F24" false "a client that floods" crowd::flooded;
    "F24s" false "a client that would shed its rate" shedding::sheds;
    "F27" false "thousands of clients cut off at once" reconnect::all_at_once;
    "F28" true "SIGTERM to a gateway" gateways::terminated;
    "F29" false "SIGTERM to a worker" workers::terminated;
    "P8" true "rolling restart of everything" gateways::rolling;
    "F30" false "gateway cut off from Redis" gateways::cut_off;
    "F31" false "half-open client connection" clients::half_open;
    "F32" false "proxies that cut what is idle for 60 s" idle::behind_proxies;
    "F38" false "Redis hands over, the former primary stays reachable" managed::handed_over;
    "F39" false "Redis fails over by Sentinel" managed::sentinel;
    "F39p" false "the same, planned" managed::sentinel_asked;
    "F39n" false "Redis fails over by a managed service's name" managed::named;
    "F39c" false "one shard in cluster mode fails over" managed::shard;
    "F39k" false "the same, by `redis-cluster://`" managed::shard_of_cluster;
    "F40" false "Redis user without a right" managed::without_a_right;
    "F40m" false "MongoDB user without a right" refusals::without_a_right;
    "F40q" false "MongoDB over its quota, then its disk full" refusals::full;
    "F34" false "Redis and MongoDB absent at start" gateways::absent;
    "F35" false "the same, with nothing of it in MongoDB" forgets::unstored;
    "F36" true "unread entries deleted" forgets::unread;
    "F37" true "single keys of tickets deleted" forgets::keys_gone;
    "F41" false "Redis near its `maxmemory` with tickets at rest" memory::at_rest;
    "F41o" false "Redis full of other people's keys" memory::others;
    "rotation" false "a kill every 5 s, of each part in turn" rotation::rotation;
    "storms" false "the same, with 100 tickets: each kill is followed by hundreds of joins" rotation::storms;
};

/// What a fault has to say of itself.
#[derive(Default)]
pub(crate) struct Told {
    /// What was done.
    done: String,
    /// Its figures.
    figures: Vec<String>,
    /// From when on delivery is measured: the end of the outage.
    mark: Option<u32>,
    /// The time in ms after which every client must hear again.
    within: Option<u32>,
    /// What is lost by design.
    by_design: Vec<Broken>,
    /// When a phase without the fault began, and when it ended and the one with it began.
    compared: Option<(u32, u32)>,
}

impl Told {
    fn new(done: impl Into<String>) -> Self {
        Self {
            done: done.into(),
            ..Self::default()
        }
    }

    fn figure(mut self, figure: impl Into<String>) -> Self {
        self.figures.push(figure.into());
        self
    }

    fn compared(mut self, from: u32, between: u32) -> Self {
        self.compared = Some((from, between));
        self
    }

    fn since(mut self, mark: u32) -> Self {
        self.mark = Some(mark);
        self
    }

    fn within(mut self, ms: u32) -> Self {
        self.within = Some(ms);
        self
    }
}

/// The load that most faults have.
fn usual() -> Size {
    Size {
        tickets: 16,
        customers: 2,
        agents: 8,
        spread: 1,
        rate: 200,
        window: 4,
    }
}

/// Runs the usual load through what `fault` does to it.
async fn under(
    context: &Context,
    name: &str,
    shape: Shape,
    size: Size,
    fault: impl AsyncFnOnce(&mut Run) -> anyhow::Result<Told>,
) -> anyhow::Result<Row> {
    let mut run = Run::begin(context, name, &shape, size).await?;
    let told = fault(&mut run).await.context("during the fault")?;
    let logs: Vec<_> = run.world.gateways.iter().map(Process::log).collect();
    let mut finished = run.finish().await.context("after the fault")?;
    let (gone, defects): (Vec<String>, Vec<String>) = defects(&logs)
        .into_iter()
        .partition(|defect| defect.ends_with(GONE));
    finished.failures.extend(defects);
    if finished.verdict.faults().next().is_some() {
        finished
            .history
            .write(&context.directory.join(name).join("history.txt"))?;
    }
    let mut figures = told.figures;
    figures.extend(gone);
    if let Some((from, between)) = told.compared {
        let long = between - from;
        let before = stats::delivery_p99(&finished.history, from, between);
        let then = stats::delivery_p99(&finished.history, between, between + long);
        let ratio = f64::from(then) / f64::from(before.max(1));
        figures.push(format!(
            "p99 of delivery to the others {then} ms, {before} ms before ({ratio:.2} times)"
        ));
    }
    if let Some(mark) = told.mark {
        let ms = |after: Option<u32>| after.map_or("(nobody)".to_owned(), |ms| format!("{ms} ms"));
        let (local, remote) = stats::delivery_after(&finished.history, mark);
        figures.push(format!(
            "delivery again after {} local, {} remote",
            ms(local),
            ms(remote)
        ));
        let silence = stats::longest_silence(&finished.history, mark);
        if told.within.is_some_and(|within| silence > within) {
            let late = format!("a client hears again only after {silence} ms");
            finished.failures.push(late);
        }
        figures.push(format!("every client hears again after {silence} ms"));
    }
    let stats = finished.stats;
    let told_more = [
        ("resumes", stats.resumed),
        ("reloads", stats.reloaded),
        ("repeats", stats.repeats),
        ("refused yet accepted", stats.refused_yet_accepted),
    ];
    figures.extend(
        told_more
            .into_iter()
            .filter(|(_, n)| *n > 0)
            .map(|(what, n)| format!("{what} {n}")),
    );
    figures.extend(
        stats
            .unanswered
            .iter()
            .map(|(what, n)| format!("{what} not answered within 5 s {n}")),
    );
    Ok(Row {
        done: told.done,
        stats,
        figures,
        verdict: finished.verdict,
        by_design: told.by_design,
        failures: finished.failures,
        skipped: None,
    })
}

/// Why a join fails whose client did not wait for it: nobody is told, so no promise is broken.
const GONE: &str = "the socket is gone";

/// What the gateways answered with `internal`: no fault makes a defect of ours right.
fn defects(logs: &[PathBuf]) -> Vec<String> {
    let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
    for log in logs {
        // A gateway that never logged had no defect to log.
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let lines = text
            .lines()
            .filter(|line| line.contains("request failed by a defect"));
        for line in lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
            let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
            let reason = format!("`internal` on {}: {}", text("operation"), text("reason"));
            *reasons.entry(reason).or_default() += 1;
        }
    }
    reasons
        .into_iter()
        .map(|(reason, count)| format!("{count} × {reason}"))
        .collect()
}

/// A row of a fault that can't be run here.
fn skipped(why: impl Into<String>) -> Row {
    Row {
        skipped: Some(why.into()),
        ..Row::default()
    }
}

/// The longer or the shorter outage.
fn outage(context: &Context, long: u64, short: u64) -> Duration {
    Duration::from_secs(if context.short { short } else { long })
}

/// Runs faults one after the other, reports each at once, and says how many did not keep their promises.
pub(crate) async fn all(
    context: &Context,
    chosen: &[&'static Fault],
    report: &Path,
    code: &str,
    say: impl Fn(&str),
) -> anyhow::Result<usize> {
    let order: Vec<&str> = ALL.iter().map(|fault| fault.name).collect();
    let mut broken = 0;
    for fault in chosen {
        let began = std::time::Instant::now();
        say(&format!("=== {}: {}", fault.name, fault.what));
        let row = (fault.run)(context.clone())
            .await
            .unwrap_or_else(|error| Row {
                done: "not finished".into(),
                failures: vec![format!("{error:#}")],
                ..Row::default()
            });
        let line = row.line(fault.name, fault.what, code);
        for (kind, words) in &row.verdict.examples {
            say(&format!("    {}: {words}", kind.name()));
        }
        say(&format!("{line}\n    {} s", began.elapsed().as_secs()));
        report::write(
            report,
            &BTreeMap::from([(fault.name.to_owned(), line)]),
            &order,
        )?;
        let directory = context.directory.join(fault.name);
        if row.skipped.is_none() && !row.good() {
            broken += 1;
            say(&format!("    logs and data: {}", directory.display()));
        } else if directory.exists() {
            std::fs::remove_dir_all(directory)?;
        }
    }
    Ok(broken)
}
