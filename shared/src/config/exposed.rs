//! Secrets that others on the same machine can read: given as a flag, or in a file that is not the owner's alone.

use std::{fmt, fs, os::unix::fs::PermissionsExt, path::Path};

use clap::{ArgMatches, Command, parser::ValueSource};

/// Permissions of a file that let others than its owner read it.
const READ_BY_OTHERS: u32 = 0o044;

/// A setting whose secret others can read. The process starts all the same: whether they are trusted is the
/// operator's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// The environment variable.
    pub setting: String,
    /// How it can be read, and what to do.
    pub problem: &'static str,
}

impl Exposed {
    /// Logs a warning of it.
    pub fn log(&self) {
        tracing::warn!(
            setting = self.setting,
            problem = self.problem,
            "secret exposed"
        );
    }
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.problem)
    }
}

/// Returns whether a setting is a secret, whatever its value.
pub(super) fn is_secret(setting: &str) -> bool {
    ["_SECRET", "_SECRET_PREVIOUS", "_PASSWORD"]
        .iter()
        .any(|end| setting.ends_with(end))
}

/// The settings of `command` that were given so that others can read them.
pub(super) fn exposed(command: &Command, matches: &ArgMatches) -> Vec<Exposed> {
    let names: Vec<&str> = command
        .get_arguments()
        .filter_map(|argument| argument.get_env()?.to_str())
        .collect();
    let mut exposed = Vec::new();
    for argument in command.get_arguments() {
        let Some(setting) = argument.get_env().and_then(|name| name.to_str()) else {
            continue;
        };
        let id = argument.get_id().as_str();
        let Some(value) = matches
            .try_get_raw(id)
            .ok()
            .flatten()
            .and_then(|mut all| all.next())
        else {
            continue;
        };
        let flag = matches.value_source(id) == Some(ValueSource::CommandLine);
        let problem = if flag && holds_secret(setting, &value.to_string_lossy()) {
            "a secret given as a flag is visible in the list of processes; give it as a variable or in a file"
        } else if let Some(of) = setting.strip_suffix("_FILE")
            && names.contains(&of)
            && read_by_others(Path::new(value))
        {
            "others than the owner can read the file; chmod 600 it"
        } else {
            continue;
        };
        let setting = setting.to_owned();
        exposed.push(Exposed { setting, problem });
    }
    exposed
}

/// A secret, or a URL with a password.
fn holds_secret(setting: &str, value: &str) -> bool {
    let user = value
        .split_once("://")
        .and_then(|(_, rest)| rest.rsplit_once('@'));
    is_secret(setting) || user.is_some_and(|(user, _)| user.contains(':'))
}

fn read_by_others(path: &Path) -> bool {
    // One that can't be read stops the start elsewhere.
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & READ_BY_OTHERS != 0)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::Common;

    #[derive(clap::Parser, Debug)]
    struct Only {
        #[command(flatten)]
        _common: Common,
    }

    fn of(args: &[&str]) -> Vec<String> {
        let command = Only::command();
        let matches = command
            .clone()
            .try_get_matches_from([&["x"], args].concat())
            .unwrap();
        exposed(&command, &matches)
            .into_iter()
            .map(|exposed| exposed.setting)
            .collect()
    }

    #[test]
    fn a_secret_as_a_flag_is_exposed_and_a_plain_url_is_not() {
        assert_eq!(of(&["--redis-url", "redis://:pw@h:1"]), ["REDIS_URL"]);
        assert_eq!(of(&["--mongo-uri", "mongodb://u:p@h/db"]), ["MONGO_URI"]);
        assert!(of(&["--redis-url", "redis://h:1", "--partitions", "4"]).is_empty());
        assert!(is_secret("JWT_SECRET") && is_secret("JWT_SECRET_PREVIOUS"));
    }

    #[test]
    fn a_file_that_others_read_is_exposed() {
        let path = std::env::temp_dir().join(format!("exposed-{}", std::process::id()));
        fs::write(&path, "redis://:pw@h:1").unwrap();
        let with = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let file = path.to_str().unwrap();
            // The authorities' certificates are no secret.
            of(&["--redis-url-file", file, "--redis-ca-file", file])
        };
        for mode in [0o600, 0o400, 0o700] {
            assert!(with(mode).is_empty(), "{mode:o}");
        }
        for mode in [0o640, 0o604, 0o644] {
            assert_eq!(with(mode), ["REDIS_URL_FILE"], "{mode:o}");
        }
        fs::remove_file(&path).unwrap();
    }
}
