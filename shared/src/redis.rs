//! Connections to Redis: what every client of the product is set to, and how errors are told apart.
//!
//! fred's defaults are dangerous here: it does not reconnect, retries commands whose outcome is unknown, and
//! drops pub/sub messages beyond 32. Its `max_command_buffer_len` is left at 0 because a client never recovers
//! from reaching it.

use std::time::Duration;

use fred::{
    clients::{Client, SubscriberClient},
    types::{
        RespVersion,
        config::{
            Config, ConnectionConfig, Options, PerformanceConfig, ReconnectError, ReconnectPolicy,
            TcpConfig, UnresponsiveConfig,
        },
    },
};

use crate::config::{BadSetting, Secret};

mod entrance;
mod failure;
mod layout;
mod primary;
mod rights;
mod sentinel;
mod tls;
mod topology;
mod trouble;

pub use entrance::{Entrance, Examined, examine};
pub use failure::{Failure, failure, refusal, words};
pub use primary::{keep_on_primary, stay_on_primary};
pub use rights::Program;
pub use sentinel::follow_sentinel;
pub use tls::trusting;
pub use topology::{Topology, Unfit, discover};
pub use trouble::{Disconnected, tell_why};

/// How long a command may take before its caller is told that Redis can't be reached.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);

/// Time for a connection to be made.
const CONNECT: Duration = Duration::from_secs(3);

/// How many messages of subscriptions may wait. What comes beyond is lost, and whoever reads them is told.
const CHANNEL_MESSAGES: usize = 16_384;

/// Replies of a server that is no primary, or not yet: each ends its connection. Behind a name or a virtual address the
/// next one leads to the server that took over, while the former one would answer like this for ever. None of them says
/// that anything was written. (`CLUSTERDOWN` ends a connection by the library's own rule.)
const NO_PRIMARY: [ReconnectError; 5] = [
    // Of a server in cluster mode to a client that knows one server alone: a replica, as `READONLY`.
    ReconnectError::Custom("MOVED"),
    ReconnectError::ReadOnly,
    ReconnectError::MasterDown,
    ReconnectError::Loading,
    ReconnectError::Custom("UNBLOCKED force unblock"),
];

/// Checks that a URL is one that a client could be made of.
///
/// # Errors
/// Names `REDIS_URL`, or `REDIS_CA_FILE`.
pub fn check_url(url: &Secret) -> Result<(), BadSetting> {
    config(url).map(drop)
}

fn config(url: &Secret) -> Result<Config, BadSetting> {
    let known = [
        "redis",
        "rediss",
        "redis-cluster",
        "rediss-cluster",
        "redis-sentinel",
        "rediss-sentinel",
    ];
    let (address, ca_file) = tls::split(url.expose());
    let scheme = address.split("://").next().unwrap_or_default();
    if !known.contains(&scheme) {
        return Err(BadSetting::new(
            "REDIS_URL",
            "must begin with redis://, rediss://, redis-cluster:// or redis-sentinel://",
        ));
    }
    // With a file of our own the system's certificates need not be there: the library would insist on them.
    let plain = match ca_file {
        Some(_) => address.replacen("rediss", "redis", 1),
        None => address,
    };
    let mut config = Config::from_url(&plain)
        .map_err(|_| BadSetting::new("REDIS_URL", "is not a URL of a Redis server"))?;
    if let Some(path) = ca_file {
        config.tls = Some(tls::connector(path)?.into());
    }
    config.version = RespVersion::RESP3;
    // A server that is down at the start is waited for, not an error.
    config.fail_fast = false;
    Ok(config)
}

fn builder(url: &Secret) -> Result<fred::types::Builder, BadSetting> {
    let mut builder = builder_of(config(url)?);
    builder.set_policy(ReconnectPolicy::new_exponential(0, 100, 1_000, 2));
    Ok(builder)
}

/// A builder of clients that give up with their connection.
fn builder_of(config: Config) -> fred::types::Builder {
    // The client of a cluster follows those.
    let clustered = config.server.is_clustered();
    let mut builder = fred::types::Builder::from_config(config);
    builder
        .set_connection_config(ConnectionConfig {
            connection_timeout: CONNECT,
            internal_command_timeout: CONNECT,
            // A retried XADD may have been written already; our own retries carry an id.
            max_command_attempts: 1,
            reconnect_on_auth_error: true,
            reconnect_errors: NO_PRIMARY[usize::from(clustered)..].to_vec(),
            tcp: TcpConfig {
                nodelay: Some(true),
                user_timeout: Some(Duration::from_secs(5)),
                ..TcpConfig::default()
            },
            unresponsive: UnresponsiveConfig {
                max_timeout: Some(Duration::from_secs(5)),
                interval: Duration::from_secs(1),
            },
            ..ConnectionConfig::default()
        })
        .set_performance_config(PerformanceConfig {
            default_command_timeout: COMMAND_TIMEOUT,
            ..PerformanceConfig::default()
        });
    builder
}

/// A client for commands. It is not connected yet: call `init` (or `connect`) on it.
///
/// # Errors
/// Names `REDIS_URL`.
pub fn client(url: &Secret) -> Result<Client, BadSetting> {
    builder(url)?
        .build()
        .map_err(|_| BadSetting::new("REDIS_URL", "is not usable"))
}

/// A client for subscriptions, with a connection of its own. Whoever uses it must subscribe again after each
/// of its reconnects: it does not by itself.
///
/// # Errors
/// Names `REDIS_URL`.
pub fn subscriber(url: &Secret) -> Result<SubscriberClient, BadSetting> {
    let mut builder = builder(url)?;
    // Every slot is allocated at once, so only where messages come in.
    builder.with_performance_config(|performance| {
        performance.broadcast_channel_capacity = CHANNEL_MESSAGES;
    });
    builder
        .build_subscriber_client()
        .map_err(|_| BadSetting::new("REDIS_URL", "is not usable"))
}

/// A client for blocking reads. Such a read holds its connection, so nothing else may use it, and its commands
/// may take as long as the block and a little more.
///
/// # Errors
/// Names `REDIS_URL`.
pub fn blocking_client(url: &Secret, block: Duration) -> Result<Client, BadSetting> {
    let mut builder = builder(url)?;
    builder.with_performance_config(|performance| {
        performance.default_command_timeout = block + Duration::from_secs(2);
    });
    // The watchdog for unresponsive connections would end a read that only waits.
    builder.with_connection_config(|connection| connection.unresponsive.max_timeout = None);
    builder
        .build()
        .map_err(|_| BadSetting::new("REDIS_URL", "is not usable"))
}

/// Options of commands that somebody waits for: no queueing while disconnected, one attempt, a deadline.
pub fn hot_path() -> Options {
    Options {
        max_attempts: Some(1),
        timeout: Some(COMMAND_TIMEOUT),
        fail_fast: true,
        ..Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_before_anything_connects() {
        for good in [
            "redis://localhost:6379",
            "rediss://u:p@h:1/2",
            "redis-cluster://h:1?node=h2:2",
        ] {
            assert_eq!(check_url(&Secret::new(good)), Ok(()), "{good}");
        }
        for bad in ["", "localhost:6379", "http://localhost", "redis://"] {
            assert_eq!(
                check_url(&Secret::new(bad)).unwrap_err().setting,
                "REDIS_URL",
                "{bad}"
            );
        }
    }
}
