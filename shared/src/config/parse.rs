//! Reading the command line and the environment, and saying what is wrong with them.

use clap::{Parser, error::ErrorKind};

use super::{
    EXIT_CONFIG, Exposed, Secret, complain,
    exposed::{self, is_secret},
};

/// What a process was asked to do, read from its arguments and environment.
#[derive(Debug)]
pub struct Parsed<C> {
    /// The settings.
    pub config: C,
    /// Every setting with its effective value, secrets hidden, in the order of the help text.
    pub effective: Vec<(String, String)>,
    /// Settings whose secrets others can read.
    pub exposed: Vec<Exposed>,
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
            let value = match value {
                _ if is_secret(&name) => "[hidden]".to_owned(),
                url if url.contains("://") && !name.ends_with("_ORIGIN") => {
                    Secret::new(url).to_string()
                }
                plain => plain,
            };
            Some((name, value))
        })
        .collect();
    let exposed = exposed::exposed(&command, &matches);
    Ok(Parsed {
        config,
        effective,
        exposed,
    })
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
    use super::{super::Common, *};

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
