//! How long a connection may go on with its token: a warning, a grace, the end.

use std::{sync::Arc, time::Duration};

use socketioxide::extract::SocketRef;
use ticket_shared::{
    event::{TokenExpiring, server},
    time::Time,
};

use super::{Connection, inbound::Call, leave_ticket};
use crate::{access::Caller, adapter::Adapter, audit::Cut, identify::claims_of};

/// How long before its end a token is said to expire, in seconds.
const WARNING: i64 = 60;
/// For how long after its end a connection may still bring another one, in seconds.
const GRACE: i64 = 25;

/// Where a token stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Phase {
    /// It holds.
    Valid,
    /// It holds for less than [`WARNING`].
    Expiring,
    /// It holds no longer: no event is taken but another token, and none is sent.
    Expired,
    /// Nor was it replaced in time.
    Over,
}

/// Where a token that ends at `expires_at` (in seconds since 1970) stands at `now_ms`, and in how long that
/// changes.
fn phase(expires_at: i64, now_ms: i64) -> (Phase, Duration) {
    let ms = |seconds: i64| expires_at.saturating_add(seconds).saturating_mul(1_000);
    let steps = [
        (Phase::Valid, ms(-WARNING)),
        (Phase::Expiring, ms(0)),
        (Phase::Expired, ms(GRACE)),
    ];
    for (phase, until) in steps {
        if now_ms < until {
            let left = u64::try_from(until.saturating_sub(now_ms)).unwrap_or(0);
            return (phase, Duration::from_millis(left));
        }
    }
    (Phase::Over, Duration::MAX)
}

/// What a connection was told of its token.
pub(super) struct Session {
    told: Phase,
    /// The end of the token that this is about.
    expires_at: i64,
}

impl Session {
    pub(super) fn new() -> Self {
        Self {
            told: Phase::Valid,
            expires_at: 0,
        }
    }

    /// Returns when something is to be done for the token of the caller; without one, never.
    pub(super) async fn due(&mut self, caller: &Caller) -> Phase {
        let Some(claims) = claims_of(caller) else {
            return std::future::pending().await;
        };
        if self.expires_at != claims.expires_at {
            // It is a new one.
            (self.told, self.expires_at) = (Phase::Valid, claims.expires_at);
        }
        loop {
            let (now, left) = phase(self.expires_at, Time::now().0);
            if now > self.told {
                return now;
            }
            // In pieces: a clock that is set goes past a sleep.
            tokio::time::sleep(left.min(Duration::from_secs(30))).await;
        }
    }

    /// Does what is due.
    pub(super) async fn step(&mut self, call: &Call, now: Phase) {
        self.told = now;
        match now {
            Phase::Valid => {}
            Phase::Expiring => {
                let expires_at = Time::from_seconds(self.expires_at);
                let event = TokenExpiring { expires_at };
                // A connection that begins with such a token is set up before its client may be told anything.
                let begun = async {
                    while !call.socket.connected() {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                };
                let begun = tokio::time::timeout(Duration::from_secs(1), begun).await;
                if begun.is_err() || call.socket.emit(server::TOKEN_EXPIRING, &event).is_err() {
                    tracing::debug!("client not told that its token expires");
                }
            }
            Phase::Expired => leave_ticket::shut_out(call).await,
            Phase::Over => {
                let claims = claims_of(&call.caller).map(Arc::as_ref);
                call.app.metrics.audit.cut(Cut::Expired, claims);
                end(&call.socket);
            }
        }
    }
}

/// Ends a connection whose caller has no right to it any more.
pub(super) fn end(socket: &SocketRef<Adapter>) {
    if socket.clone().disconnect().is_err() {
        // Its send buffer is full: its client does not read.
        if let Some(connection) = socket.extensions.get::<Arc<Connection>>() {
            connection.line().close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_warned_of_then_graced_then_over() {
        let at = |seconds: i64| phase(1_000, seconds * 1_000);
        assert_eq!(at(0), (Phase::Valid, Duration::from_secs(940)));
        assert_eq!(at(939), (Phase::Valid, Duration::from_secs(1)));
        assert_eq!(at(940), (Phase::Expiring, Duration::from_mins(1)));
        assert_eq!(at(1_000), (Phase::Expired, Duration::from_secs(25)));
        assert_eq!(at(1_025).0, Phase::Over);
        assert_eq!(phase(i64::MAX, 0).0, Phase::Valid);
        assert_eq!(phase(i64::MIN, 0).0, Phase::Over);
    }
}
