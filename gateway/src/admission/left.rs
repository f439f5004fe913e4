//! Connections whose socket has left: the client said so, or was sent away, and keeps the connection open.
//!
//! The library ends a connection over which nobody comes in, but not one that somebody has left. It would keep its
//! place for as long as its client answers pings.

use std::{sync::Arc, time::Duration};

use ticket_shared::lifecycle::Until;

use super::{Admission, Line};

/// How long a connection may stay without its socket: as long as one may take to bring one in.
const STAY: Duration = Duration::from_secs(10);
/// When a session that polls is over by itself: longer than it may leave a ping unanswered.
const SILENT: Duration = Duration::from_mins(1);

impl Admission {
    /// Ends a connection that stays without its socket, unless another one came in over it.
    pub(crate) async fn outlast(self: Arc<Self>, sid: String, stopping: Until) {
        tokio::select! {
            // Then all connections end.
            () = stopping => self.gone(&sid),
            () = self.end_what_stays(&sid) => {}
        }
    }

    async fn end_what_stays(&self, sid: &str) {
        let Some(line) = self.line_of(sid) else {
            return;
        };
        tokio::time::sleep(STAY).await;
        if !self.carries(sid, &line) {
            return;
        }
        line.close();
        if line.polls() {
            // It is told when it asks.
            tokio::time::sleep(SILENT).await;
        }
        if self.carries(sid, &line) {
            self.gone(sid);
        }
    }

    /// Whether this still is the way out to the session.
    fn carries(&self, sid: &str, line: &Arc<Line>) -> bool {
        self.line_of(sid).is_some_and(|now| Arc::ptr_eq(&now, line))
    }
}
