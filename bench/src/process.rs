//! Processes of a run: started with their own settings, stopped in every way there is, and never left behind.

use std::{
    fs::{File, OpenOptions},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

use crate::chance;

/// What a process is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    /// Stand still.
    Stop,
    /// Go on.
    Continue,
    /// End.
    Term,
}

/// A program with its settings, running or not.
#[derive(Debug)]
pub(crate) struct Process {
    /// For messages and the log file.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    program: PathBuf,
    arguments: Vec<String>,
    env: Vec<(String, String)>,
    directory: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Describes a process that listens at `address` and works in `directory`.
    pub(crate) fn new(name: &str, program: &Path, address: SocketAddr, directory: &Path) -> Self {
        Self {
            name: name.to_owned(),
            address,
            program: program.to_owned(),
            arguments: Vec::new(),
            env: Vec::new(),
            directory: directory.to_owned(),
            child: None,
        }
    }

    /// Adds arguments.
    pub(crate) fn arg<T: ToString>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|argument| argument.to_string()));
        self
    }

    /// Adds arguments for the next start.
    pub(crate) fn add_arguments(&mut self, arguments: &[&str]) {
        self.arguments
            .extend(arguments.iter().map(ToString::to_string));
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    /// Where its output goes.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name))
    }

    /// Starts it. It runs, no more; whether it is ready is another question.
    ///
    /// # Errors
    /// Where it can't be started.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())?;
        let errors: File = log.try_clone()?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("RUST_BACKTRACE", "1")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("{}: can't start {}", self.name, self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Its id, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only where it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// Where it does not run.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let Some(child) = &self.child else {
            bail!("{} does not run", self.name)
        };
        let name = match signal {
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
            Signal::Term => "TERM",
        };
        // The shell's own `kill` is everywhere; a program of that name is not.
        let command = format!("kill -{name} {}", child.id());
        let done = Command::new("sh").args(["-c", &command]).status()?;
        if !done.success() {
            bail!("{}: no signal {name}", self.name);
        }
        Ok(())
    }

    /// Whether it runs; if not, how it ended.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(Some(ExitStatus::default())),
        }
    }

    /// Asks it to end, and waits for that. Returns how long it took.
    ///
    /// # Errors
    /// Where it does not, in time, or with another code than 0.
    pub(crate) async fn stop(&mut self, deadline: Duration) -> anyhow::Result<Duration> {
        let began = Instant::now();
        self.signal(Signal::Term)?;
        loop {
            if let Some(status) = self.ended()? {
                self.child = None;
                if !status.success() {
                    bail!("{} ended with {status} on SIGTERM", self.name);
                }
                return Ok(began.elapsed());
            }
            if began.elapsed() > deadline {
                self.kill();
                bail!("{} still ran {deadline:?} after SIGTERM", self.name);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How many files this program may open, and so what it starts: sockets count. Nothing where there is no limit, or
/// none that can be told.
pub(crate) fn open_files() -> Option<u64> {
    // The shell's own, as with signals.
    let output = Command::new("sh").args(["-c", "ulimit -n"]).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

/// The ports that are given out: below those that systems give to outgoing connections.
const FIRST_PORT: u16 = 12_000;
const PORTS: u64 = 18_000;

/// An address that nothing listens at.
///
/// # Errors
/// Where none is found.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    // None is given out twice: whoever has one may not listen there yet.
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| chance::below(PORTS).into());
    for _ in 0..100 {
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % PORTS;
        let port = FIRST_PORT + u16::try_from(next)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port in 100 tries")
}

/// The program of one of these names that is found first: as a variable says, on the PATH, or in `places`.
pub(crate) fn find(variable: &str, names: &[&str], places: &[PathBuf]) -> Option<PathBuf> {
    if let Some(said) = std::env::var_os(variable).filter(|said| !said.is_empty()) {
        return Some(said.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let on_path = names
        .iter()
        .flat_map(|name| directories.iter().map(move |at| at.join(name)));
    on_path
        .chain(places.iter().cloned())
        .find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_address_is_given_out_twice() {
        // Of so many, chosen at random, some would be the same.
        let given: HashSet<_> = (0..1_000).map(|_| free_address().unwrap()).collect();
        assert_eq!(given.len(), 1_000);
    }
}
