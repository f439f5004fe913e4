//! Why a connection to Redis does not come about: a command that fails only says that there was none.

use std::sync::{Arc, Mutex, PoisonError};

use fred::{
    error::Error,
    interfaces::{ClientLike, EventInterface},
};
use tokio::sync::broadcast::error::RecvError;

use super::words;
use crate::lifecycle::Lifecycle;

/// The reason for which a client has no connection, in the words of Redis or of TLS. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Disconnected(Arc<Mutex<Option<String>>>);

impl Disconnected {
    /// Returns the reason; `None` while there is a connection.
    pub fn reason(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn note(&self, reason: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

/// Logs why `client` can't connect, such as a password that is refused or a certificate that is not trusted: once
/// for each reason, and again where it comes back after a connection.
pub fn tell_why<C: ClientLike + EventInterface + Send + Sync + 'static>(
    client: &C,
    life: &Lifecycle,
) -> Disconnected {
    let (mut errors, mut connections) = (client.error_rx(), client.reconnect_rx());
    let stopping = life.stopping().clone();
    let disconnected = Disconnected::default();
    let noted = disconnected.clone();
    life.spawn(async move {
        let mut told: Option<Error> = None;
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                failed = errors.recv() => match failed {
                    Ok((error, _)) => {
                        // Redis' own words, or TLS': they never hold what was sent.
                        noted.note(Some(words(&error)));
                        if told.as_ref() != Some(&error) {
                            tracing::warn!(error = %error, "redis connection failed, trying on");
                            told = Some(error);
                        }
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                connected = connections.recv() => match connected {
                    Ok(_) | Err(RecvError::Lagged(_)) => {
                        told = None;
                        noted.note(None);
                    }
                    Err(RecvError::Closed) => return,
                },
            }
        }
    });
    disconnected
}
