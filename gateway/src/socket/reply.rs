//! How events are answered.

use std::{borrow::Cow, sync::Arc};

use engineioxide::{Outlet, SharedText};
use serde::Serialize;
use socketioxide::socket::Socket;
use ticket_shared::event::{Ack, ErrorCode, Exception, client, server};

use crate::{adapter::Adapter, error::Error, packet};

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
    pub fn send<T: Serialize>(self, result: Result<T, Error>) -> Option<ErrorCode> {
        let socket = Arc::clone(&self.socket);
        let (packet, code) = self.packet(result);
        deliver(&socket, packet.as_slice());
        code
    }

    /// The same for several events of one socket, in one write.
    pub(super) fn send_all<T: Serialize>(
        answers: impl IntoIterator<Item = (Self, Result<T, Error>)>,
    ) -> Vec<Option<ErrorCode>> {
        let (mut packets, mut codes, mut socket) = (Vec::new(), Vec::new(), None);
        for (reply, result) in answers {
            socket.get_or_insert_with(|| Arc::clone(&reply.socket));
            let (packet, code) = reply.packet(result);
            packets.extend(packet);
            codes.push(code);
        }
        if let Some(socket) = socket {
            deliver(&socket, &packets);
        }
        codes
    }

    /// Answers an event that was not even looked at.
    pub(super) fn refuse(self, error: Error) {
        self.send::<()>(Err(error));
    }

    /// What the client is sent, where it asked for an answer or has to be told of a failure; and the code of that.
    fn packet<T: Serialize>(
        self,
        result: Result<T, Error>,
    ) -> (Option<SharedText>, Option<ErrorCode>) {
        let body = match result {
            Ok(answer) => return (self.acknowledgement(&Ack::ok(answer)), None),
            Err(error) => {
                // A name that is not ours is the client's own words.
                let known = client::ALL.into_iter().find(|name| *name == self.event);
                error.log(known.unwrap_or("unknown event"));
                error.body()
            }
        };
        let code = Some(body.code);
        if self.ack_id.is_some() {
            return (self.acknowledgement(&Ack::<()>::failed(body)), code);
        }
        let exception = Exception {
            event: self.event.into_owned(),
            error: body,
        };
        // Maps with keys that are no text can't be written. There are none.
        (packet::event(server::EXCEPTION, &exception).ok(), code)
    }

    fn acknowledgement<T: Serialize>(&self, answer: &Ack<T>) -> Option<SharedText> {
        packet::ack(self.ack_id?, answer).ok()
    }
}

/// Sends packets. A client that leaves no room for them is cut off: it asks again over its next connection.
fn deliver(socket: &Socket<Adapter>, packets: &[SharedText]) {
    if packets.is_empty() || !socket.connected() {
        return;
    }
    if let Some(outlet) = socket.req_parts().extensions.get::<Outlet>() {
        // Who is cut off learns it by that.
        let _ = packet::send(packets, outlet);
    }
}
