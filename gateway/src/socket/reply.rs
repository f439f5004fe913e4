//! How events are answered.

use std::{borrow::Cow, sync::Arc};

use engineioxide::{Outlet, SharedText};
use serde::Serialize;
use socketioxide::socket::Socket;
use ticket_shared::event::{Ack, ErrorCode, Exception, client, server};

use super::Connection;
use crate::{adapter::Adapter, admission::Line, error::Error, packet};

/// How a client is answered: by its acknowledgement callback, or, where it gave none, by an `exception` where
/// something failed.
#[derive(Debug, Clone)]
pub struct Reply {
    event: Cow<'static, str>,
    ack_id: Option<i64>,
    socket: Arc<Socket<Adapter>>,
}

impl Reply {
    /// The answer to this event of a socket.
    pub(super) fn new(
        event: Cow<'static, str>,
        ack_id: Option<i64>,
        socket: &Arc<Socket<Adapter>>,
    ) -> Self {
        Self {
            event,
            ack_id,
            socket: Arc::clone(socket),
        }
    }

    /// Answers, and says with which code where it failed.
    ///
    /// A client that does not take its answer is cut off: it asks again over its next connection.
    pub fn send<T: Serialize>(self, result: Result<T, Error>) -> Option<ErrorCode> {
        let line = self.line();
        let (sent, code) = match result {
            Ok(answer) => (self.acknowledge(&Ack::ok(answer), line.as_deref()), None),
            Err(error) => {
                let (sent, code) = self.fail(error, line.as_deref());
                (sent, Some(code))
            }
        };
        if let Some(line) = line.filter(|_| !sent) {
            line.end("an answer did not fit");
        }
        code
    }

    /// Answers what was not even looked at. Where such answers are not taken, they are dropped.
    pub(super) fn refuse(self, error: Error) {
        let line = self.line();
        let _ = self.fail(error, line.as_deref());
    }

    fn line(&self) -> Option<Arc<Line>> {
        let connection = self.socket.extensions.get::<Arc<Connection>>()?;
        Some(Arc::clone(connection.line()))
    }

    fn fail(self, error: Error, line: Option<&Line>) -> (bool, ErrorCode) {
        // A name that is not ours is the client's own words.
        let known = client::ALL.into_iter().find(|name| *name == self.event);
        error.log(known.unwrap_or("unknown event"));
        let body = error.body();
        let code = body.code;
        let sent = if self.ack_id.is_some() {
            self.acknowledge(&Ack::<()>::failed(body), line)
        } else {
            let exception = Exception {
                event: self.event.into_owned(),
                error: body,
            };
            let packet = packet::event(server::EXCEPTION, &exception);
            put(&self.socket, packet, line)
        };
        (sent, code)
    }

    /// Whether there was room for it.
    fn acknowledge<T: Serialize>(&self, answer: &Ack<T>, line: Option<&Line>) -> bool {
        self.ack_id
            .is_none_or(|id| put(&self.socket, packet::ack(id, answer), line))
    }
}

/// Sends a packet. Whether there was room for it, or the client is gone anyway.
fn put(
    socket: &Socket<Adapter>,
    packet: Result<SharedText, serde_json::Error>,
    line: Option<&Line>,
) -> bool {
    // Maps with keys that are no text can't be written. There are none.
    match (packet, socket.req_parts().extensions.get::<Outlet>(), line) {
        (Ok(packet), Some(outlet), Some(line)) if socket.connected() => {
            packet::send(&[packet], outlet, line).is_ok()
        }
        _ => true,
    }
}
