//! Settings that both processes have, and how settings are read, shown and refused.
//!
//! Every setting is a flag and an environment variable; the doc comment of its field is its help text. A
//! setting that is wrong stops the start with one line that names it and exit code [`EXIT_CONFIG`].

use std::{fmt, io::IsTerminal, path::PathBuf};

use clap::{Args, Parser, ValueEnum, error::ErrorKind};

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

/// A text that is never printed: what prints it shows a URL without its password, and anything else not at all.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return f.write_str("[hidden]");
        };
        // The last one: a password that was not encoded may have one in it, and slashes and question marks.
        let (user, place) = match rest.rsplit_once('@') {
            Some((_, place)) => ("[hidden]@", place),
            None => ("", rest),
        };
        let place = place.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{user}{place}")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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

/// Reads a secret from a file, without the line feed at its end.
///
/// # Errors
/// Names `setting` where the file can't be read or is empty.
pub fn read_secret(setting: &'static str, path: &std::path::Path) -> Result<Secret, BadSetting> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        BadSetting::new(setting, format!("can't read the file: {}", error.kind()))
    })?;
    match text.trim() {
        "" => Err(BadSetting::new(setting, "the file is empty")),
        secret => Ok(Secret::new(secret)),
    }
}

/// What a process was asked to do, read from its arguments and environment.
#[derive(Debug)]
pub struct Parsed<C> {
    /// The settings.
    pub config: C,
    /// Every setting with its effective value, secrets hidden, in the order of the help text.
    pub effective: Vec<(String, String)>,
}

/// Reads the command line and the environment, and ends the process with the right code and one line where it
/// asks for help or something is wrong.
///
/// # Errors
/// The exit code with which the process should end now.
pub fn parse<C: Parser>() -> Result<Parsed<C>, u8> {
    let stop = |error: &clap::Error| match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // A closed pipe is not worth a different exit code.
            let _ = error.print();
            0
        }
        _ => {
            complain(&one_line(error));
            EXIT_CONFIG
        }
    };
    let command = C::command();
    let matches = command
        .clone()
        .try_get_matches()
        .map_err(|error| stop(&error))?;
    let config = C::from_arg_matches(&matches).map_err(|error| stop(&error))?;
    let effective = command
        .get_arguments()
        .filter_map(|argument| {
            let name = argument.get_env()?.to_str()?.to_owned();
            let raw = matches.try_get_raw(argument.get_id().as_str()).ok()??;
            let value = raw
                .map(|value| value.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
                .join(",");
            let hidden = ["_SECRET", "_SECRET_PREVIOUS", "_PASSWORD"]
                .iter()
                .any(|end| name.ends_with(end));
            let value = match value {
                _ if hidden => "[hidden]".to_owned(),
                url if url.contains("://") && !name.ends_with("_ORIGIN") => {
                    Secret::new(url).to_string()
                }
                plain => plain,
            };
            Some((name, value))
        })
        .collect();
    Ok(Parsed { config, effective })
}

/// Says on standard error, in one line, why the process does not start.
pub fn complain(problem: &str) {
    use std::io::Write;
    // Nothing better can be done where even this can't be written.
    let _ = writeln!(std::io::stderr(), "error: {problem}");
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

/// Says what is wrong without saying what was given: that may be a secret pasted into the wrong variable.
fn one_line(error: &clap::Error) -> String {
    use clap::error::{ContextKind, ContextValue};
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let first = || {
        let message = error.to_string();
        let first = message.lines().next().unwrap_or_default();
        first.strip_prefix("error: ").unwrap_or(first).to_owned()
    };
    let Some(setting) = text(ContextKind::InvalidArg).and_then(setting_of) else {
        return first();
    };
    let problem = match (error.kind(), error.get(ContextKind::ValidValue)) {
        (ErrorKind::InvalidValue, Some(ContextValue::Strings(valid))) if !valid.is_empty() => {
            format!("must be one of: {}", valid.join(", "))
        }
        (ErrorKind::InvalidValue, _) => "needs a value".to_owned(),
        (ErrorKind::ValueValidation, _) => {
            let given = text(ContextKind::InvalidValue).unwrap_or_default();
            reason(error, given)
        }
        _ => first(),
    };
    format!("{setting}: {problem}")
}

/// Why a value can't be read, for a person who does not know the type that it becomes.
fn reason(error: &clap::Error, given: &str) -> String {
    let Some(source) = std::error::Error::source(error) else {
        return "is not valid".to_owned();
    };
    if source.is::<std::num::ParseIntError>() {
        return "must be a whole number, not too large".to_owned();
    }
    let reason = source.to_string();
    // `99999 is not in 1..=1024`
    let reason = reason.strip_prefix(given).unwrap_or(&reason).trim();
    if !given.is_empty() && reason.contains(given) {
        return "is not valid".to_owned();
    }
    reason.to_owned()
}

/// `--redis-url <REDIS_URL>` is the variable `REDIS_URL`.
fn setting_of(argument: &str) -> Option<String> {
    let flag = argument.strip_prefix("--")?.split([' ', '=']).next()?;
    Some(flag.replace('-', "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_its_place_but_not_itself() {
        let shown = Secret::new("mongodb://root:p@ss@db:27017/tickets?authSource=admin&tlsKey=x")
            .to_string();
        assert_eq!(shown, "mongodb://[hidden]@db:27017/tickets");
        assert_eq!(
            Secret::new("redis://localhost:6379").to_string(),
            "redis://localhost:6379"
        );
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[hidden]");
        let shown = Secret::new("redis://:hun/ter?2@h:1/0").to_string();
        assert_eq!(shown, "redis://[hidden]@h:1/0");
    }

    #[derive(Parser, Debug)]
    struct Only {
        #[command(flatten)]
        common: Common,
    }

    #[test]
    fn what_is_wrong_is_named_and_never_quoted() {
        let told = |args: &[&str]| {
            let error = Only::try_parse_from([&["x"], args].concat()).unwrap_err();
            one_line(&error)
        };
        assert_eq!(
            told(&["--partitions", "4096"]),
            "PARTITIONS: is not in 1..=1024"
        );
        assert_eq!(
            told(&["--partitions", "hunter2"]),
            "PARTITIONS: must be a whole number, not too large"
        );
        assert_eq!(
            told(&["--log-format", "hunter2"]),
            "LOG_FORMAT: must be one of: json, pretty"
        );
        assert_eq!(
            told(&["--log-format", ""]),
            "LOG_FORMAT: must be one of: json, pretty"
        );
    }

    #[test]
    fn flags_are_named_like_variables() {
        assert_eq!(
            setting_of("--redis-url <REDIS_URL>").as_deref(),
            Some("REDIS_URL")
        );
    }
}
