//! The server behind a URL, as it turns out to be: in cluster mode or not, and under which address.
//!
//! Managed services give a plain URL to a server in cluster mode, where a command may touch the keys of one slot only.
//! What must hold: the product then works by slots, whichever of the two schemes the URL has, or says what to write.

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::ClientLike,
    types::{
        CustomCommand, Value,
        config::{Config, ServerConfig},
    },
};
use tokio::time::timeout;

use super::{CONNECT, builder_of, config, hot_path, primary::hello};
use crate::{
    config::{BadSetting, Secret},
    stream::Keys,
};

/// The setting that errors name.
const SETTING: &str = "REDIS_URL";

/// Why a server can't be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unfit {
    /// A setting does not fit it.
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// It can't be reached, or refuses the connection.
    #[error("redis: {0}")]
    Redis(#[from] Error),
}

/// A server that was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The URL that leads to it: the one that was given, or a better one.
    pub url: Secret,
    /// Keys of different slots must not meet in one command.
    pub by_slots: bool,
}

/// Finds out how the server behind `url` has to be used.
///
/// # Errors
/// [`Unfit`].
pub async fn discover(url: &Secret) -> Result<Topology, Unfit> {
    let config = config(url)?;
    let (clustered, hosts) = match &config.server {
        ServerConfig::Centralized { server } => (false, vec![server.clone()]),
        ServerConfig::Clustered { hosts, .. } => (true, hosts.clone()),
        // Sentinels watch over servers that are not in cluster mode.
        ServerConfig::Sentinel { .. } => {
            return Ok(Topology {
                url: url.clone(),
                by_slots: false,
            });
        }
    };
    let mut last = Error::new(ErrorKind::IO, "no server");
    for host in hosts {
        let mut alone = config.clone();
        // One in cluster mode would refuse the choice of a database in words that say less.
        alone.database = None;
        alone.server = ServerConfig::Centralized { server: host };
        let client = once(alone)?;
        match connected(&client).await {
            Ok(()) => {
                let found = look(&client, url, clustered, config.database.unwrap_or(0)).await;
                let _ = client.quit().await;
                return found;
            }
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

/// A client that gives up with its first failure.
pub(super) fn once(mut config: Config) -> Result<Client, Error> {
    config.fail_fast = true;
    builder_of(config).build()
}

/// Connects such a client.
///
/// # Errors
/// Why it can't be connected.
pub(super) async fn connected(client: &Client) -> Result<(), Error> {
    match timeout(CONNECT, client.init()).await {
        Ok(connected) => connected.map(drop),
        Err(_) => Err(Error::new(ErrorKind::Timeout, "no answer")),
    }
}

async fn look(
    client: &Client,
    url: &Secret,
    clustered: bool,
    database: u8,
) -> Result<Topology, Unfit> {
    let bad = |problem: &str| Err(BadSetting::new(SETTING, problem).into());
    if !hello(client).await?.cluster {
        if clustered {
            return bad("the server is not in cluster mode; write redis:// (or rediss://)");
        }
        return Ok(Topology {
            url: url.clone(),
            by_slots: false,
        });
    }
    if database != 0 {
        return bad(
            "the server is in cluster mode, which has database 0 only; leave the number out",
        );
    }
    let command = CustomCommand::new_static("CLUSTER", None, false);
    let client = client.with_options(&hot_path());
    let slots: Value = client.custom(command, vec!["SLOTS"]).await?;
    // One that knows no name of its own is alone: others would have told it.
    let url = match (names(&slots), clustered) {
        (false, true) => plain(url),
        (true, false) => by_cluster(url),
        _ => url.clone(),
    };
    Ok(Topology {
        url,
        by_slots: true,
    })
}

/// Whether every range of slots in the reply to `CLUSTER SLOTS` names the host of its primary.
fn names(slots: &Value) -> bool {
    let Value::Array(ranges) = slots else {
        return false;
    };
    let named = |range: &Value| {
        let Value::Array(range) = range else {
            return false;
        };
        let Some(Value::Array(primary)) = range.get(2) else {
            return false;
        };
        let host = primary.first().and_then(Value::as_string);
        host.is_some_and(|host| !host.is_empty() && host != "?")
    };
    !ranges.is_empty() && ranges.iter().all(named)
}

/// Finds out if a proxy in front of several shards refuses commands whose keys belong to different ones, although it does not
/// speak as a cluster does.
pub(super) async fn splits_slots(client: &Client, keys: &Keys) -> bool {
    if keys.partitions() < 2 {
        return false;
    }
    let streams = (0..keys.partitions()).map(|partition| keys.events(partition));
    let mut question = vec!["COUNT".to_owned(), "1".to_owned(), "STREAMS".to_owned()];
    question.extend(streams);
    // Nothing is newer than the newest, so nothing is read.
    question.extend((0..keys.partitions()).map(|_| "$".to_owned()));
    let command = CustomCommand::new_static("XREAD", None, false);
    let client = client.with_options(&hot_path());
    let asked: Result<Value, Error> = client.custom(command, question).await;
    // Any other refusal is for the examination of rights to name.
    asked.is_err_and(|error| error.details().starts_with("CROSSSLOT"))
}

/// The URL with the other scheme.
fn by_cluster(url: &Secret) -> Secret {
    let text = url.expose();
    let (scheme, rest) = text.split_once("://").unwrap_or(("redis", text));
    Secret::new(format!("{scheme}-cluster://{rest}"))
}

/// The URL of the first host alone. The options of TLS stay.
fn plain(url: &Secret) -> Secret {
    let text = url.expose().replacen("-cluster://", "://", 1);
    let Some((place, query)) = text.split_once('?') else {
        return Secret::new(text);
    };
    let kept: Vec<&str> = query
        .split('&')
        .filter(|option| !option.starts_with("node="))
        .collect();
    Secret::new(match kept.as_slice() {
        [] => place.to_owned(),
        kept => format!("{place}?{}", kept.join("&")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(host: Value) -> Value {
        let primary = Value::Array(vec![host, 6379.into(), "id".into()]);
        Value::Array(vec![0.into(), 16_383.into(), primary])
    }

    #[test]
    fn a_node_that_names_no_host_is_found_out() {
        let reply = |hosts: Vec<Value>| Value::Array(hosts.into_iter().map(range).collect());
        assert!(names(&reply(vec!["10.0.0.1".into(), "b".into()])));
        for nameless in [Value::Null, "".into(), "?".into()] {
            assert!(!names(&reply(vec!["a".into(), nameless])));
        }
        assert!(!names(&reply(vec![])));
    }

    #[test]
    fn urls_change_their_scheme_and_keep_the_rest() {
        let url = Secret::new("rediss://u:p@h:1?tlsCAFile=/ca.pem");
        let clustered = by_cluster(&url);
        assert_eq!(
            clustered.expose(),
            "rediss-cluster://u:p@h:1?tlsCAFile=/ca.pem"
        );
        assert_eq!(plain(&clustered), url);
        let many = Secret::new("redis-cluster://h:1?node=h2:2&node=h3:3");
        assert_eq!(plain(&many).expose(), "redis://h:1");
    }
}
