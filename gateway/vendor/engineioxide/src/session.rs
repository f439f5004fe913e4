//! One account of a session: its server follows it from the moment the engine accepts it until it ends.
//!
//! The request that opens a session may carry an [`Account`] among its extensions. The engine reports everything that
//! a client can make a server hold or do: which connection carries the session, each packet and control frame before
//! anything is made of it, and packets that find no room. Without an account nothing is bounded but by the
//! configuration.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use engineioxide_core::{Sid, TransportType};
use http::Extensions;

use crate::{engine::EngineIo, handler::EngineIoHandler, socket::DisconnectReason};

/// An observer as the extension of a request.
pub type Account = Arc<dyn SessionObserver>;

/// Follows one session. No method may block, and none is called with a lock of the engine held.
pub trait SessionObserver: fmt::Debug + Send + Sync + 'static {
    /// Bytes that may be queued for the client when another packet comes: one packet may go beyond.
    fn max_queued_bytes(&self) -> usize {
        usize::MAX
    }

    /// The engine has accepted the session. Called once, before anything else.
    fn opened(&self, session: Session);

    /// The session goes over this transport from now on. `request` are the extensions of the request whose connection
    /// carries it; a polling session has no connection of its own.
    fn carried(&self, transport: TransportType, request: &Extensions);

    /// Something came from the client. Called before anything is made of it.
    fn received(&self, received: Received<'_>) -> Verdict;

    /// A packet had no room and is lost: from now on the client misses something.
    fn overflowed(&self);

    /// A message of the client did not come whole in time, or came in too many pieces. The session is closed for it.
    fn unfinished(&self) {}

    /// The session is over. Called once, after which it can't be found any more.
    fn closed(&self);
}

/// A packet or a frame of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received<'a> {
    /// A text message.
    Message(&'a str),
    /// A binary message of this length.
    Binary(usize),
    /// A ping or pong of Engine.IO.
    Heartbeat,
    /// A ping or pong of the websocket.
    Control,
    /// A request that carries no packet: one for an upgrade, an empty one, a poll that its client gave up.
    Request,
}

/// The decision about what was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is handled.
    Accept,
    /// It is ignored.
    Ignore,
    /// It is answered with this message, and not handled. A client that leaves no room for the answer is closed.
    Answer(String),
    /// The session is closed.
    Close,
}

/// A handle on a session that does not keep it alive.
#[derive(Clone)]
pub struct Session {
    /// The id of the session. Who knows it can take the session over.
    pub sid: Sid,
    engine: Weak<dyn Sessions>,
}

/// The engine, whatever its handler.
pub(crate) trait Sessions: Send + Sync {
    fn close(&self, sid: Sid);
    fn deliver(&self, sid: Sid, message: String);
}

impl<H: EngineIoHandler> Sessions for EngineIo<H> {
    fn close(&self, sid: Sid) {
        if let Some(socket) = self.get_socket(sid) {
            socket.close(DisconnectReason::TransportError);
        }
    }

    fn deliver(&self, sid: Sid, message: String) {
        if let Some(socket) = self.get_socket(sid) {
            self.handler.on_message(message.into(), socket);
        }
    }
}

impl Session {
    pub(crate) fn new<H: EngineIoHandler>(sid: Sid, engine: &Arc<EngineIo<H>>) -> Self {
        let engine: Weak<EngineIo<H>> = Arc::downgrade(engine);
        Self { sid, engine }
    }

    /// Closes the session, whichever transport carries it. Does nothing if it is over.
    pub fn close(&self) {
        if let Some(engine) = self.engine.upgrade() {
            engine.close(self.sid);
        }
    }

    /// Gives the handler a message of the client that was ignored when it came.
    pub fn deliver(&self, message: String) {
        if let Some(engine) = self.engine.upgrade() {
            engine.deliver(self.sid, message);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the id, which is a secret.
        f.debug_struct("Session").finish_non_exhaustive()
    }
}
