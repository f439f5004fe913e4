//! Why a connection to Redis does not come about: a command that fails only says that there was none.

use fred::{clients::Client, error::Error, interfaces::EventInterface};
use tokio::sync::broadcast::error::RecvError;

use crate::lifecycle::Lifecycle;

/// Logs why `client` can't connect, such as a password that is refused or a certificate that is not trusted: once
/// for each reason, and again where it comes back after a connection.
pub fn tell_why(client: &Client, life: &Lifecycle) {
    let (mut errors, mut connections) = (client.error_rx(), client.reconnect_rx());
    let stopping = life.stopping().clone();
    life.spawn(async move {
        let mut told: Option<Error> = None;
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                failed = errors.recv() => match failed {
                    Ok((error, _)) if told.as_ref() != Some(&error) => {
                        // Redis' own words, or TLS': they never hold what was sent.
                        tracing::warn!(error = %error, "redis connection failed, trying on");
                        told = Some(error);
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                connected = connections.recv() => match connected {
                    Ok(_) | Err(RecvError::Lagged(_)) => told = None,
                    Err(RecvError::Closed) => return,
                },
            }
        }
    });
}
