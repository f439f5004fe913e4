//! Measures the product beside the Node.js server that it replaces: the same clients, the same payloads, the
//! same Redis and MongoDB, one side after the other.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Parser;
use ticket_shared::lifecycle::Lifecycle;

use crate::{code, say, world::Programs};

mod bar;
mod bed;
mod closed;
mod cost;
mod crowd;
mod flooded;
mod hold;
mod idle;
mod joins;
mod latency;
mod message;
mod open;
mod order;
mod pace;
mod readers;
mod results;
mod scenarios;
mod stalled;
mod table;
mod wire;
mod worker;

use bed::Side;
use open::Figures;
use results::Results;
use scenarios::Scenario;

/// Measures both sides and writes down what came of it.
#[derive(Parser, Debug)]
#[command(name = "load", version)]
pub struct LoadArguments {
    /// Which scenarios, by name or by how the name begins; without any: all of them
    pub names: Vec<String>,
    /// Show their names
    #[arg(long)]
    pub list: bool,
    /// Shorter and smaller, one round: to see that it works, not to measure
    #[arg(long)]
    pub quick: bool,
    /// How often each side is run, in turns
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=20))]
    pub rounds: u8,
    /// Run only the product
    #[arg(long)]
    pub product_only: bool,
    /// The baseline's server
    #[arg(long, default_value = "bench/node/server.js")]
    pub baseline: PathBuf,
    /// Where the results go
    #[arg(long, default_value = "bench/RESULTS.md")]
    pub report: PathBuf,
    /// What stands behind them: versions, the command
    #[arg(long)]
    pub note: Vec<String>,
    /// Only hold idle connections to these gateways: what `idle` starts
    #[arg(long, hide = true, value_delimiter = ',', requires_all = ["hold_tickets", "hold_says"])]
    pub hold: Vec<SocketAddr>,
    /// In the tickets that this file lists
    #[arg(long, hide = true)]
    pub hold_tickets: Option<PathBuf>,
    /// And say in this file how many there are
    #[arg(long, hide = true)]
    pub hold_says: Option<PathBuf>,
    /// Only send far too much to this gateway: what `flood` starts
    #[arg(long, hide = true, requires_all = ["flood_ticket", "flood_says"])]
    pub flood: Option<SocketAddr>,
    /// Into this ticket
    #[arg(long, hide = true)]
    pub flood_ticket: Option<String>,
    /// And say in this file what comes of it
    #[arg(long, hide = true)]
    pub flood_says: Option<PathBuf>,
}

/// Runs what was asked for and writes the results.
///
/// # Errors
/// Where something is missing, or the results can't be written. A scenario that fails is a result.
pub async fn load(arguments: &LoadArguments, life: &Lifecycle) -> anyhow::Result<()> {
    if let (Some(tickets), Some(says)) = (&arguments.hold_tickets, &arguments.hold_says) {
        return hold::hold(life, &arguments.hold, tickets, says).await;
    }
    if let (Some(gateway), Some(ticket), Some(says)) = (
        arguments.flood,
        &arguments.flood_ticket,
        &arguments.flood_says,
    ) {
        return flooded::flood(life, gateway, ticket, says).await;
    }
    let chosen = chosen(&arguments.names)?;
    if arguments.list {
        for (name, _) in chosen {
            say(name);
        }
        return Ok(());
    }
    let program = std::env::current_exe()?;
    let directory = program.parent().context("a program without a place")?;
    let local = directory.parent().unwrap_or(directory).join("local");
    let script = arguments.baseline.canonicalize();
    let context = bed::Context {
        life: life.clone(),
        programs: Programs::find(directory, &local)?,
        directory: local.join("bench"),
        script: script.with_context(|| arguments.baseline.display().to_string())?,
        quick: arguments.quick,
    };
    let measured = measure(&context, &chosen, arguments);
    let results = tokio::select! {
        results = measured => results?,
        stopped = life.until_stopped() => {
            stopped?;
            bail!("interrupted")
        }
    };
    let text = table::write(&results, &notes(&context, arguments));
    std::fs::write(&arguments.report, text)?;
    say(&format!("\n{}", bar::table(&results)));
    say(&format!("All of it: {}", arguments.report.display()));
    Ok(())
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<(&'static str, Scenario)>> {
    let wanted = |name: &str, scenario: &str| {
        scenario == name
            || scenario
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('-'))
    };
    for name in names {
        if !scenarios::ALL
            .iter()
            .any(|(scenario, _)| wanted(name, scenario))
        {
            bail!("no scenario is called {name}; --list shows all");
        }
    }
    let all = scenarios::ALL.iter().copied();
    let chosen = all.filter(|(scenario, _)| {
        names.is_empty() || names.iter().any(|name| wanted(name, scenario))
    });
    Ok(chosen.collect())
}

/// All scenarios, each in rounds in which the sides take turns.
async fn measure(
    context: &bed::Context,
    chosen: &[(&'static str, Scenario)],
    arguments: &LoadArguments,
) -> anyhow::Result<Results> {
    let mut results = Results::default();
    for (name, scenario) in chosen {
        for round in 0..if context.quick { 1 } else { arguments.rounds } {
            for side in scenario.sides() {
                if arguments.product_only && *side != Side::Product {
                    continue;
                }
                let outcome = Box::pin(scenario.run(context, *side)).await;
                let outcome = outcome.map_err(|error| match crash(&context.directory) {
                    Some(crash) => error.context(crash),
                    None => error,
                });
                let told = match &outcome {
                    Ok(figures) => shown(figures),
                    Err(error) => format!("failed: {error:#}"),
                };
                say(&format!(
                    "{name}, {}, round {}: {told}",
                    side.name(),
                    round + 1
                ));
                results.add(name, *side, outcome);
            }
        }
    }
    Ok(results)
}

/// What a server said last when it crashed, from the logs of a run: where the run failed, that is why.
fn crash(directory: &Path) -> Option<String> {
    let logs = std::fs::read_dir(directory).ok()?.flatten();
    let mut logs: Vec<PathBuf> = logs.map(|entry| entry.path()).collect();
    logs.retain(|path| path.extension().is_some_and(|end| end == "log"));
    logs.sort();
    logs.iter().find_map(|path| {
        // Logs of other programs may hold anything.
        let log = String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned();
        Some(format!("{}: {}", path.file_stem()?.display(), fatal(&log)?))
    })
}

/// The line in which Node.js, or Rust, says why it gives up.
fn fatal(log: &str) -> Option<&str> {
    let crash = |line: &&str| line.contains("FATAL ERROR") || line.contains("panicked at");
    log.lines().find(crash)
}

fn shown(figures: &Figures) -> String {
    let parts = figures
        .iter()
        .map(|(name, value)| format!("{name} {}", table::number(*value)));
    parts.collect::<Vec<_>>().join(", ")
}

fn notes(context: &bed::Context, arguments: &LoadArguments) -> BTreeMap<String, String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let models = || cpus.lines().filter(|line| line.starts_with("model name"));
    let model = models().next().and_then(|line| line.split_once(": "));
    let memory = read("/proc/meminfo");
    let total = memory
        .lines()
        .next()
        .map(|line| line.split_whitespace().skip(1));
    let total: Vec<&str> = total.into_iter().flatten().collect();
    let size = if context.quick {
        "quick, one round: not a measurement"
    } else {
        "full"
    };
    let mut notes = BTreeMap::from([
        (
            "Machine".into(),
            format!(
                "{} cores, {}, {} memory, Linux {}",
                models().count(),
                model.map_or("unknown model", |(_, model)| model),
                total.join(" "),
                read("/proc/sys/kernel/osrelease").trim()
            ),
        ),
        ("Code".into(), code()),
        ("Size".into(), size.into()),
        ("MongoDB".into(), context.programs.mongo_name()),
    ]);
    for note in &arguments.note {
        let (name, text) = note.split_once('=').unwrap_or(("Note", note));
        notes.insert(name.into(), text.into());
    }
    notes
}

pub(crate) use cost::peak;

/// The resident memory of a process in bytes, while it runs.
pub(crate) fn resident(process: u32) -> Option<f64> {
    cost::usage(&process.to_string())
        .ok()
        .map(|usage| usage.rss)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_server_gave_up_is_found() {
        let log = "<--- Last few GCs --->\n\nFATAL ERROR: Reached heap limit\n----- Native stack trace -----\n";
        assert_eq!(fatal(log), Some("FATAL ERROR: Reached heap limit"));
        let log = "thread 'main' (5) panicked at src/main.rs:3:5:\nboom\n";
        assert_eq!(
            fatal(log),
            Some("thread 'main' (5) panicked at src/main.rs:3:5:")
        );
        assert_eq!(fatal("redis Socket closed unexpectedly\n"), None);
    }
}
