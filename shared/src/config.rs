//! Settings that both processes have, and how settings are read, shown and refused.
//!
//! Every setting is a flag and an environment variable; the doc comment of its field is its help text. A
//! setting that is wrong stops the start with one line that names it and exit code [`EXIT_CONFIG`].

use std::{io::IsTerminal, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

mod duration;
mod exposed;
mod parse;
mod secret;

pub use duration::{BadDuration, LONGEST, duration};
pub use exposed::Exposed;
pub use parse::{Parsed, parse};
pub use secret::{Secret, read_secret};

/// The exit code of a process whose settings are wrong (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// A setting that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct BadSetting {
    /// The environment variable.
    pub setting: &'static str,
    /// What is wrong and how to mend it.
    pub problem: String,
}

impl BadSetting {
    /// A problem with `setting`.
    pub fn new(setting: &'static str, problem: impl Into<String>) -> Self {
        Self {
            setting,
            problem: problem.into(),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a person.
    Pretty,
}

/// Where the data is, and what the process says of itself: the settings of every process.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Redis: redis://, rediss://, redis-cluster:// or redis-sentinel://
    #[arg(long, env = "REDIS_URL", default_value = "redis://localhost:6379")]
    pub redis_url: Secret,
    /// A file that holds the URL
    #[arg(long, env = "REDIS_URL_FILE")]
    redis_url_file: Option<PathBuf>,
    /// A PEM file with the authorities whose certificates are trusted with rediss:// [default: the system's].
    /// With MongoDB it is the option tlsCAFile of the URI
    #[arg(long, env = "REDIS_CA_FILE")]
    redis_ca_file: Option<PathBuf>,
    /// MongoDB, with the database in the path
    #[arg(
        long,
        env = "MONGO_URI",
        default_value = "mongodb://localhost:27017/ticket-system"
    )]
    pub mongo_uri: Secret,
    /// A file that holds the URI
    #[arg(long, env = "MONGO_URI_FILE")]
    mongo_uri_file: Option<PathBuf>,
    /// What every Redis key and channel begins with
    #[arg(long, env = "KEY_PREFIX", default_value = "tickets")]
    pub key_prefix: String,
    /// Over how many streams tickets are spread; changing it on live data is a migration
    #[arg(long, env = "PARTITIONS", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub partitions: u16,
    /// How long a ticket stays in Redis after its last change, once everything of it is in MongoDB; at least 1m; 0: until
    /// memory runs short. Above 70 % of Redis' maxmemory they go earlier, longest idle first
    #[arg(long, env = "HOT_FOR", default_value = "24h", value_parser = hot_for)]
    pub hot_for: Duration,
    /// How many threads run tasks [default: one for each CPU that the process may use]. Where several processes share
    /// the CPUs, 1 costs least
    #[arg(long, env = "THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// What is logged: error, warn, info, debug, trace, or directives such as info,fred=warn
    #[arg(long, env = "LOG", default_value = "info")]
    pub log: String,
    /// How it is logged [default: pretty on a terminal, else json]
    #[arg(long, env = "LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

impl Common {
    /// How log lines look.
    pub fn log_format(&self) -> LogFormat {
        self.log_format.unwrap_or_else(|| {
            if std::io::stderr().is_terminal() {
                LogFormat::Pretty
            } else {
                LogFormat::Json
            }
        })
    }

    /// Reads the files that hold secrets, and checks what clap can't.
    ///
    /// # Errors
    /// The first setting that is wrong.
    pub fn resolve(&mut self) -> Result<(), BadSetting> {
        if let Some(path) = &self.redis_url_file {
            self.redis_url = read_secret("REDIS_URL_FILE", path)?;
        }
        if let Some(path) = &self.redis_ca_file {
            self.redis_url = crate::redis::trusting(&self.redis_url, path)?;
        }
        if let Some(path) = &self.mongo_uri_file {
            self.mongo_uri = read_secret("MONGO_URI_FILE", path)?;
        }
        if self.key_prefix.is_empty() || self.key_prefix.contains(['{', '}', ' ', '#']) {
            return Err(BadSetting::new(
                "KEY_PREFIX",
                "must not be empty or contain braces, spaces or #",
            ));
        }
        if tracing_subscriber::EnvFilter::try_new(&self.log).is_err() {
            return Err(BadSetting::new(
                "LOG",
                "is not a level or a list of directives such as info,fred=warn",
            ));
        }
        crate::redis::check_url(&self.redis_url)?;
        Ok(())
    }

    /// Puts what was read from files in the place of what stood there before, for `check-config`.
    pub fn show(&self, effective: &mut [(String, String)]) {
        for (name, value) in effective {
            match name.as_str() {
                "REDIS_URL" => *value = self.redis_url.to_string(),
                "MONGO_URI" => *value = self.mongo_uri.to_string(),
                _ => {}
            }
        }
    }
}

/// Reads `HOT_FOR`. Gateways learn from heartbeats what their members missed, and a ticket that is not in Redis counts as
/// one in which nothing happened: none may come and go between two of them.
fn hot_for(text: &str) -> Result<Duration, String> {
    let least = Duration::from_mins(1);
    match duration(text) {
        Ok(time) if time.is_zero() || time >= least => Ok(time),
        Ok(_) => Err("must be 0 or at least 1m".to_owned()),
        Err(bad) => Err(bad.to_string()),
    }
}

/// Says on standard error, in one line, why the process does not start.
pub fn complain(problem: &str) {
    use std::io::Write;
    // Nothing better can be done where even this can't be written.
    let _ = writeln!(std::io::stderr(), "error: {problem}");
}

/// Warns on standard error of secrets that others can read, for `check-config`.
pub fn complain_of(exposed: &[Exposed]) {
    use std::io::Write;
    for exposed in exposed {
        // As above.
        let _ = writeln!(std::io::stderr(), "warning: {exposed}");
    }
}

/// Prints the effective settings as `check-config` shows them.
pub fn print_effective(effective: &[(String, String)]) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    for (name, value) in effective {
        // A closed pipe ends the listing, no more.
        if writeln!(out, "{name}={value}").is_err() {
            return;
        }
    }
}
