//! Connections that stay with the primary while the former one stays reachable.
//!
//! After a failover behind a name or a virtual address, new connections lead to the new primary and kept ones stay on the
//! former. A write there is answered `READONLY`, which ends its connection; but subscriptions, reads and publishing go on
//! as if nothing had happened. So every connection is asked for its server's role. `HELLO` tells it, and needs no right
//! that a connection does not need anyway.

use std::{collections::HashMap, time::Duration};

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::{ClientLike, EventInterface},
    types::{ClusterStateChange, CustomCommand, Value},
};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{sleep, timeout},
};

use super::{follow_sentinel, hot_path};
use crate::lifecycle::Lifecycle;

/// Interval between two questions for the role.
const EVERY: Duration = Duration::from_secs(2);
/// Time for a new connection before the role is asked again.
const CONNECTING: Duration = Duration::from_secs(3);

/// A server, as it introduces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Introduction {
    /// It is a replica.
    pub(super) replica: bool,
    /// It runs in cluster mode.
    pub(super) cluster: bool,
}

/// Asks the server of a connection to introduce itself.
///
/// # Errors
/// What Redis or the connection says.
pub(super) async fn hello<C: ClientLike>(client: &C) -> Result<Introduction, Error> {
    let command = CustomCommand::new_static("HELLO", None, false);
    let client = client.with_options(&hot_path());
    let answer: HashMap<String, Value> = client.custom(command, vec!["3"]).await?;
    let is = |field: &str, word: &str| {
        let said = answer.get(field).and_then(Value::as_string);
        said.as_deref() == Some(word)
    };
    Ok(Introduction {
        replica: is("role", "replica") || is("role", "slave"),
        cluster: is("mode", "cluster"),
    })
}

/// Asks the server of `client` for its role until the process stops, and connects anew if it is a replica or silent. Clients of a
/// cluster are left alone: [`stay_on_primary`] is for those.
pub fn keep_on_primary<C: ClientLike + Send + Sync + 'static>(client: &C, life: &Lifecycle) {
    if client.is_clustered() {
        return;
    }
    follow_sentinel(client, life);
    let (client, stopping) = (client.clone(), life.stopping().clone());
    life.spawn(async move {
        // Not answered once is none: servers stop for a moment.
        let mut silent = false;
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = sleep(EVERY) => {}
            }
            if !client.is_connected() {
                continue;
            }
            match hello(&client).await {
                Ok(Introduction { replica: true, .. }) => {
                    tracing::warn!("the redis server is a replica, connecting anew");
                }
                Err(error) if *error.kind() == ErrorKind::Timeout && silent => {
                    tracing::warn!("the redis connection is silent, connecting anew");
                }
                answer => {
                    silent = answer.is_err_and(|error| *error.kind() == ErrorKind::Timeout);
                    continue;
                }
            }
            silent = false;
            // It goes on by itself if it takes longer.
            let _ = timeout(CONNECTING, client.force_reconnection()).await;
        }
    });
}

/// Keeps a client for commands and one for subscriptions on the primary, on a cluster too.
pub fn stay_on_primary<C: ClientLike + Send + Sync + 'static>(
    commands: &Client,
    subscriber: &C,
    life: &Lifecycle,
) {
    keep_on_primary(commands, life);
    keep_on_primary(subscriber, life);
    follow_cluster(commands, subscriber, life);
}

/// Connects `subscriber` anew whenever `commands` notices that a primary of the cluster was replaced. The former one keeps
/// the subscriber's connection, and passes nothing on.
fn follow_cluster<C: ClientLike + Send + Sync + 'static>(
    commands: &Client,
    subscriber: &C,
    life: &Lifecycle,
) {
    if !commands.is_clustered() {
        return;
    }
    let (mut changes, subscriber) = (commands.cluster_change_rx(), subscriber.clone());
    let stopping = life.stopping().clone();
    life.spawn(async move {
        loop {
            let replaced = tokio::select! {
                () = stopping.cancelled() => return,
                change = changes.recv() => match change {
                    Ok(changes) => changes
                        .iter()
                        .any(|change| matches!(change, ClusterStateChange::Remove(_))),
                    Err(RecvError::Lagged(_)) => true,
                    Err(RecvError::Closed) => return,
                },
            };
            if replaced {
                tracing::warn!("a primary of the redis cluster was replaced, subscribing anew");
                let _ = timeout(CONNECTING, subscriber.force_reconnection()).await;
            }
        }
    });
}
