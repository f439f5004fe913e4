//! Checks the promises of the product with the real thing: clients on real websockets, real processes, real
//! faults, and a judge over everything that was sent, acknowledged, delivered, shown and stored. And measures it
//! beside the server that it replaces.

use std::{io::Write as _, path::PathBuf, process::Command};

use anyhow::{Context as _, bail};
use clap::Parser;
use ticket_shared::lifecycle::Lifecycle;

mod chance;
mod client;
mod faults;
mod flood;
mod history;
mod judge;
mod load;
mod measure;
mod narrow;
mod packet;
mod process;
mod proxy;
mod readback;
mod report;
mod rest;
mod run;
mod socket;
mod stats;
mod wait;
mod world;

pub use measure::{LoadArguments, load};

/// Runs faults against private processes, and judges what comes of it.
#[derive(Parser, Debug)]
#[command(name = "faults", version)]
pub struct Arguments {
    /// Which faults, by name; without any: all of them
    pub names: Vec<String>,
    /// Show their names
    #[arg(long)]
    pub list: bool,
    /// A selection that takes less than 4 minutes, with shorter outages
    #[arg(long)]
    pub short: bool,
    /// How many acknowledged messages `rotation` is to reach
    #[arg(long, default_value_t = 200_000)]
    pub rotation: u64,
    /// Tickets that F41 opens, at 170 a second; `maxmemory` is 64 MB from 100,000 on, 32 MB below
    #[arg(long, default_value_t = 10_000)]
    pub at_rest: u32,
    /// Where the rows go
    #[arg(long, default_value = "bench/FAULTS.md")]
    pub report: PathBuf,
}

/// Runs what was asked for. Says whether every promise was kept.
///
/// # Errors
/// Where it could not be run at all.
pub async fn faults(arguments: &Arguments, life: &Lifecycle) -> anyhow::Result<bool> {
    if arguments.list {
        for fault in faults::ALL {
            let mark = if fault.short { "short" } else { "" };
            say(&format!("{:9} {:6} {}", fault.name, mark, fault.what));
        }
        return Ok(true);
    }
    let chosen = chosen(arguments)?;
    let program = std::env::current_exe()?;
    let directory = program.parent().context("a program without a place")?;
    let local = directory.parent().unwrap_or(directory).join("local");
    let context = run::Context {
        life: life.clone(),
        programs: world::Programs::find(directory, &local)?,
        directory: local.join("faults"),
        short: arguments.short,
        rotation: arguments.rotation,
        at_rest: arguments.at_rest,
    };
    say(&format!("MongoDB: {}", context.programs.mongo_name()));
    let code = code();
    let all = faults::all(&context, &chosen, &arguments.report, &code, say);
    let broken = tokio::select! {
        broken = all => broken?,
        stopped = life.until_stopped() => {
            stopped?;
            bail!("interrupted")
        }
    };
    say(&format!(
        "{} faults run, {broken} promises broken",
        chosen.len()
    ));
    Ok(broken == 0)
}

fn chosen(arguments: &Arguments) -> anyhow::Result<Vec<&'static faults::Fault>> {
    for name in &arguments.names {
        if !faults::ALL.iter().any(|fault| fault.name == name) {
            bail!("no fault is called {name}; --list shows all");
        }
    }
    let wanted = |fault: &&faults::Fault| {
        if arguments.names.is_empty() {
            fault.short || !arguments.short
        } else {
            arguments.names.iter().any(|name| name == fault.name)
        }
    };
    Ok(faults::ALL.iter().filter(wanted).collect())
}

/// Which code this is, as far as git knows.
fn code() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_default();
    let parts = ["gateway", "worker", "shared", "bench/src"];
    let changed = git(&[&["status", "--porcelain", "--"], &parts[..]].concat());
    let mark = if changed.is_some_and(|changed| changed.is_empty()) {
        ""
    } else {
        "+"
    };
    commit + mark
}

fn say(line: &str) {
    // A closed pipe ends the talk, not the run.
    let _ = writeln!(std::io::stdout(), "{line}");
}
