//! From the read loop to the handler: a socket's queue, the decoding of its events, and their answers.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::Serialize;
use serde_json::Value;
use socketioxide::{
    extract::{AckSender, SocketRef},
    handler::{FromMessageParts, Value as Packet},
    socket::Socket,
};
use ticket_shared::{
    domain::{Person, limits},
    event::{Ack, ErrorCode, Exception, Invalid, client, server},
    id::Id,
};
use tokio::sync::mpsc;

use crate::{adapter::Adapter, app::App, error::Error};

/// How many events of one socket may wait.
const QUEUE_EVENTS: usize = 4_096;
/// How many bytes of them.
const QUEUE_BYTES: usize = 2 * 1024 * 1024;
/// The longest event name that is repeated in an answer.
const NAME: usize = 64;

/// What an event's handler works with.
pub(super) struct Call {
    pub app: Arc<App>,
    pub connection: Arc<Connection>,
    pub socket: SocketRef<Adapter>,
}

/// What the gateway knows of one connection.
#[derive(Debug)]
pub struct Connection {
    queue: mpsc::UnboundedSender<Item>,
    events: AtomicUsize,
    bytes: AtomicUsize,
    joined: Mutex<HashMap<Id, Person>>,
}

/// One thing in a socket's queue.
#[derive(Debug)]
pub(super) enum Item {
    Event(Inbound),
    Closed(SocketRef<Adapter>),
}

impl Connection {
    /// A connection, and the end of its queue.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Item>) {
        // Bounded by the two counters instead of the channel, so that the end of the connection always fits.
        let (queue, items) = mpsc::unbounded_channel();
        let zero = AtomicUsize::default;
        (
            Self {
                queue,
                events: zero(),
                bytes: zero(),
                joined: Mutex::default(),
            },
            items,
        )
    }

    /// The tickets that the socket is in, and as whom.
    pub fn joined(&self) -> MutexGuard<'_, HashMap<Id, Person>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event was taken out of the queue.
    pub(super) fn taken(&self, bytes: usize) {
        self.events.fetch_sub(1, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// The connection ended; what waits is handled first.
    pub(super) fn close(&self, socket: SocketRef<Adapter>) {
        // The other end is gone only when the process stops.
        let _ = self.queue.send(Item::Closed(socket));
    }

    /// Puts an event into the queue, or gives it back where that is full.
    fn put(&self, inbound: Inbound) -> Option<Inbound> {
        let bytes = inbound.bytes;
        let events = self.events.fetch_add(1, Ordering::AcqRel);
        let waiting = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let full = events >= QUEUE_EVENTS || waiting + bytes > QUEUE_BYTES;
        let refused = if full {
            Some(inbound)
        } else {
            self.queue
                .send(Item::Event(inbound))
                .err()
                .and_then(|unsent| match unsent.0 {
                    Item::Event(inbound) => Some(inbound),
                    Item::Closed(_) => None,
                })
        };
        if refused.is_some() {
            self.taken(bytes);
        }
        refused
    }
}

/// One event of a client, decoded.
#[derive(Debug)]
pub(super) struct Inbound {
    pub event: String,
    pub payload: Result<Value, Error>,
    pub reply: Reply,
    pub bytes: usize,
}

/// An extractor that does all the work: it runs in the read loop, in the order of arrival, and puts the event
/// into the socket's queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Enqueued;

impl FromMessageParts<Adapter> for Enqueued {
    type Error = Infallible;

    fn from_message_parts(
        socket: &Arc<Socket<Adapter>>,
        packet: &mut Packet,
        ack_id: &Option<i64>,
    ) -> Result<Self, Infallible> {
        let (event, payload) = decode(packet);
        let shown = event.chars().take(NAME).collect();
        let reply = Reply {
            event: shown,
            ack_id: *ack_id,
            socket: Arc::clone(socket),
        };
        let inbound = Inbound {
            event,
            payload,
            reply,
            bytes: packet.len(),
        };
        let refused = match socket.extensions.get::<Arc<Connection>>() {
            Some(connection) => connection.put(inbound),
            None => Some(inbound),
        };
        if let Some(inbound) = refused {
            inbound.reply.send::<()>(Err(Error::Overloaded(
                "too many events of this connection wait",
            )));
        }
        Ok(Self)
    }
}

/// Reads `["event", payload, …]`. More arguments than one are ignored, as the former server did.
fn decode(packet: &Packet) -> (String, Result<Value, Error>) {
    let (text, attachments) = match packet {
        Packet::Str(text, attachments) => (
            text.as_str(),
            attachments.as_ref().is_some_and(|all| !all.is_empty()),
        ),
        Packet::Bytes(_) => return (String::new(), Err(Error::Malformed("must be JSON"))),
    };
    let name = || {
        // The name is there even where the payload can't be read.
        let start = text.strip_prefix("[\"").unwrap_or_default();
        start
            .split('"')
            .next()
            .unwrap_or_default()
            .chars()
            .take(NAME)
            .collect::<String>()
    };
    if text.len() > limits::FRAME {
        return (name(), Err(Error::TooLarge));
    }
    let Ok(mut arguments) = serde_json::from_str::<Vec<Value>>(text) else {
        return (
            name(),
            Err(Error::Malformed("must be JSON that can be read")),
        );
    };
    let event = match arguments.first() {
        Some(Value::String(event)) => event.clone(),
        _ => {
            return (
                String::new(),
                Err(Error::Malformed("must begin with the event's name")),
            );
        }
    };
    if attachments {
        return (
            event,
            Err(Invalid::new("payload", "must not hold binary data").into()),
        );
    }
    let payload = if arguments.len() > 1 {
        arguments.swap_remove(1)
    } else {
        Value::Null
    };
    (event, Ok(payload))
}

/// How a client is answered: by its acknowledgement callback, or, where it gave none, by an `exception` where
/// something failed.
#[derive(Debug, Clone)]
pub struct Reply {
    event: String,
    ack_id: Option<i64>,
    socket: Arc<Socket<Adapter>>,
}

impl Reply {
    /// The socket that is answered.
    pub fn socket(&self) -> SocketRef<Adapter> {
        SocketRef::from(Arc::clone(&self.socket))
    }

    /// Answers, and says with which code where it failed.
    pub fn send<T: Serialize>(self, result: Result<T, Error>) -> Option<ErrorCode> {
        let error = match result {
            Ok(answer) => {
                self.acknowledge(&Ack::ok(answer));
                return None;
            }
            Err(error) => error,
        };
        // A name that is not ours is the client's own words.
        let known = client::ALL.into_iter().find(|name| *name == self.event);
        error.log(known.unwrap_or("unknown event"));
        let body = error.body();
        let code = body.code;
        if self.ack_id.is_some() {
            self.acknowledge(&Ack::<()>::failed(body));
        } else {
            let exception = Exception {
                event: self.event,
                error: body,
            };
            sent(self.socket.emit(server::EXCEPTION, &exception).is_ok());
        }
        Some(code)
    }

    fn acknowledge<T: Serialize>(&self, answer: &Ack<T>) {
        // The library makes an acknowledgement only out of a message's parts, of which it looks at the id.
        let mut none = Packet::Bytes(bytes::Bytes::new());
        let Ok(ack) =
            AckSender::<Adapter>::from_message_parts(&self.socket, &mut none, &self.ack_id);
        sent(ack.send(answer).is_ok());
    }
}

/// A client that does not take its answer has a full send buffer or is gone: it will ask again.
fn sent(done: bool) {
    if !done {
        tracing::debug!("answer could not be sent");
    }
}
