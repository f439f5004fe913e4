//! Classes of Redis failures: each decides if a caller retries, backs off, or reports a defect.
//!
//! What must hold: only a defect of this product is a [`Failure::Defect`]. Whatever else a server, a proxy or a provider
//! answers (quotas, rights, words that no version knew yet) is the operator's to mend, and the caller's to try again.

use fred::error::{Error, ErrorKind};

/// The longest part of a server's words that is kept.
const WORDS: usize = 200;

/// Class of a Redis failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Redis refuses writes because it is out of memory or disk, or lacks replicas: it sheds load. [`refusal`] names
    /// the cause.
    Refused,
    /// Redis can't be reached, is loading, failing over, refuses the command, or did not answer in time. The outcome of
    /// a write is unknown.
    Unreachable,
    /// The script is not loaded; send its text.
    NoScript,
    /// The consumer group is gone: Redis lost its data.
    NoGroup,
    /// A defect of this product, or keys that something else has written.
    Defect,
}

/// Returns the class of `error`, by the error code that Redis begins its reply with.
pub fn failure(error: &Error) -> Failure {
    let details = error.details();
    match code(details) {
        "OOM" | "MISCONF" | "NOREPLICAS" => Failure::Refused,
        "NOSCRIPT" => Failure::NoScript,
        "NOGROUP" => Failure::NoGroup,
        "WRONGTYPE" | "user_script" => Failure::Defect,
        "ERR"
            if OWN
                .iter()
                .any(|own| details[3..].trim_start().starts_with(own)) =>
        {
            Failure::Defect
        }
        _ => match error.kind() {
            ErrorKind::InvalidArgument
            | ErrorKind::InvalidCommand
            | ErrorKind::Parse
            | ErrorKind::NotFound => Failure::Defect,
            _ => Failure::Unreachable,
        },
    }
}

/// Beginnings of replies (after `ERR`) to a command or script that is wrong by itself.
const OWN: [&str; 8] = [
    "user_script",
    "Error running script",
    "Error compiling script",
    "wrong number of arguments",
    "syntax error",
    "value is not",
    "Number of keys",
    "Protocol error",
];

/// Names the cause of a [`Failure::Refused`] for people.
pub fn refusal(error: &Error) -> &'static str {
    match code(error.details()) {
        "OOM" => "Redis is out of memory",
        "MISCONF" => "Redis can't write to its disk",
        "NOREPLICAS" => "Redis has too few replicas",
        _ => "Redis refuses writes for now",
    }
}

/// Returns the server's own words for a log: without arguments of the command, which may be what people wrote.
pub fn words(error: &Error) -> String {
    let details = error.details();
    // What Redis adds behind the error of a command in a script.
    let place = details
        .contains("@user_script")
        .then(|| details.rfind(" script: "));
    let end = details
        .find(", with args")
        .or(place.flatten())
        .unwrap_or(details.len());
    let words: String = details[..end]
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(WORDS)
        .collect();
    if words.is_empty() {
        error.kind().to_str().to_owned()
    } else {
        words
    }
}

fn code(details: &str) -> &str {
    details.split([' ', ':']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(details: &'static str) -> Failure {
        failure(&Error::new(ErrorKind::Unknown, details))
    }

    #[test]
    fn a_full_redis_refuses_and_says_of_what() {
        for (words, cause) in [
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                "Redis is out of memory",
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots",
                "Redis can't write to its disk",
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                "Redis has too few replicas",
            ),
        ] {
            assert_eq!(told(words), Failure::Refused, "{words}");
            assert_eq!(refusal(&Error::new(ErrorKind::Unknown, words)), cause);
        }
    }

    #[test]
    fn words_of_servers_proxies_and_providers_are_no_defects() {
        for words in [
            "READONLY You can't write against a read only replica.",
            "ERR max daily request limit exceeded. Limit: 10000, Usage: 10000.",
            "ERR max number of clients reached",
            "NOPERM User tickets has no permissions to run the 'info' command",
            "ERR The user executing the script can't run this command or subcommand script: 8a, on @user_script:1.",
            "ERR ACL failure in script: User tickets has no permissions to run the 'info' command",
            "FAILOVER in progress",
            "EXECABORT Transaction discarded because of previous errors.",
            "UNKILLABLE Sorry",
            "NOTREADY the proxy warms up",
            "CROSSSLOT Keys in request don't hash to the same slot",
            "ERR unknown command 'EVALSHA', with args beginning with: 'x'",
            "ERR DISABLED by the provider",
            "upstream connect error",
            "Failed to route command.",
            "",
        ] {
            assert_eq!(told(words), Failure::Unreachable, "{words}");
        }
        let timeout = Error::new(ErrorKind::Timeout, "Request timed out.");
        assert_eq!(failure(&timeout), Failure::Unreachable);
    }

    #[test]
    fn what_is_wrong_with_us_is_a_defect() {
        for words in [
            "ERR user_script:12: attempt to index a nil value script: 8a, on @user_script:12.",
            "user_script:12: attempt to compare number with nil",
            "ERR wrong number of arguments for 'hset' command",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ] {
            assert_eq!(told(words), Failure::Defect, "{words}");
        }
        assert_eq!(told("NOGROUP No such key"), Failure::NoGroup);
        assert_eq!(told("NOSCRIPT No matching script."), Failure::NoScript);
    }

    #[test]
    fn what_people_wrote_stays_out_of_the_log() {
        let quoting = "ERR unknown command 'XADD', with args beginning with: 'k' 'secret'";
        let error = Error::new(ErrorKind::Unknown, quoting);
        assert_eq!(words(&error), "ERR unknown command 'XADD'");
        let nothing = Error::new(ErrorKind::Canceled, "");
        assert_eq!(words(&nothing), "Canceled");
        for said in [
            "ERR The user executing the script can't run this command or subcommand",
            "ERR ACL failure in script: User tickets has no permissions to run the 'info' command",
        ] {
            let details = format!("{said} script: 8a, on @user_script:1.");
            assert_eq!(words(&Error::new(ErrorKind::Unknown, details)), said);
        }
    }
}
