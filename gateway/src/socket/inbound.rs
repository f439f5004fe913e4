//! From the read loop to the handler: a socket's queue, the decoding of its events, and their answers.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use serde::Serialize;
use serde_json::Value;
use socketioxide::{
    SendError, SocketError,
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

use crate::{
    access::Caller,
    adapter::Adapter,
    admission::{Admission, Client, Line, Meter, size},
    app::App,
    error::Error,
};

/// How many bytes of one socket's events may wait.
const QUEUE_BYTES: usize = 2 * 1024 * 1024;
/// The longest event name that is repeated in an answer.
const NAME: usize = 64;

/// What an event's handler works with.
#[derive(Clone)]
pub(super) struct Call {
    pub app: Arc<App>,
    pub connection: Arc<Connection>,
    pub socket: SocketRef<Adapter>,
    pub caller: Caller,
}

/// What the gateway knows of one connection.
#[derive(Debug)]
pub struct Connection {
    queue: mpsc::UnboundedSender<Item>,
    events: AtomicUsize,
    bytes: AtomicUsize,
    joined: Mutex<HashMap<Id, Person>>,
    caller: Mutex<Caller>,
    admission: Arc<Admission>,
    client: Option<Client>,
    meter: Mutex<Meter>,
    line: Arc<Line>,
}

/// One thing in a socket's queue.
#[derive(Debug)]
pub(super) enum Item {
    // Boxed: a queue has room for dozens of items from its beginning on.
    Event(Box<Inbound>),
    Closed(SocketRef<Adapter>),
}

impl Connection {
    /// A connection, and the end of its queue.
    pub(super) fn new(
        admission: &Arc<Admission>,
        client: Option<Client>,
        line: Arc<Line>,
        caller: Caller,
    ) -> (Self, mpsc::UnboundedReceiver<Item>) {
        // Bounded by the two counters instead of the channel, so that the end of the connection always fits.
        let (queue, items) = mpsc::unbounded_channel();
        let zero = AtomicUsize::default;
        (
            Self {
                queue,
                events: zero(),
                bytes: zero(),
                joined: Mutex::default(),
                caller: Mutex::new(caller),
                admission: Arc::clone(admission),
                client,
                meter: Mutex::default(),
                line,
            },
            items,
        )
    }

    /// The tickets that the socket is in, and as whom.
    pub fn joined(&self) -> MutexGuard<'_, HashMap<Id, Person>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose connection it is.
    pub fn caller(&self) -> Caller {
        self.caller
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The same person goes on with another token.
    pub(super) fn go_on_as(&self, caller: Caller) {
        *self.caller.lock().unwrap_or_else(PoisonError::into_inner) = caller;
    }

    /// The way out to the client.
    pub fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// Counts an event. Who goes on for long after being told is cut off.
    fn admit(&self) -> Result<(), Error> {
        let counted = {
            let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
            meter.event(&self.admission, self.client)
        };
        counted.map_err(|refused| {
            if refused.abuse {
                tracing::warn!("connection of a client that floods closed");
                self.line.close();
            }
            refused.error
        })?;
        self.admission.caller(&self.caller())
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
        let full =
            events >= self.admission.limits().inflight_events || waiting + bytes > QUEUE_BYTES;
        let refused = if full {
            Some(inbound)
        } else {
            self.queue
                .send(Item::Event(Box::new(inbound)))
                .err()
                .and_then(|unsent| match unsent.0 {
                    Item::Event(inbound) => Some(*inbound),
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
    pub arrived: Instant,
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
        let reply = |event: &str| Reply {
            event: event.chars().take(NAME).collect(),
            ack_id: *ack_id,
            socket: Arc::clone(socket),
        };
        let connection = socket.extensions.get::<Arc<Connection>>();
        // Before anything is made of it: a flood must cost next to nothing.
        if let Some(Err(error)) = connection.as_ref().map(|connection| connection.admit()) {
            reply(&name(packet)).refuse(error);
            return Ok(Self);
        }
        let (event, payload) = decode(packet);
        let reply = reply(&event);
        let inbound = Inbound {
            event,
            payload,
            reply,
            bytes: packet.len(),
            arrived: Instant::now(),
        };
        let refused = match connection {
            Some(connection) => connection.put(inbound),
            None => Some(inbound),
        };
        if let Some(inbound) = refused {
            let full = Error::Overloaded("too many events of this connection wait");
            inbound.reply.refuse(full);
        }
        Ok(Self)
    }
}

/// The event's name, which is there even where the payload can't be read.
fn name(packet: &Packet) -> String {
    let Packet::Str(text, _) = packet else {
        return String::new();
    };
    let start = text.as_str().strip_prefix("[\"").unwrap_or_default();
    let name = start.split('"').next().unwrap_or_default();
    name.chars().take(NAME).collect()
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
    if text.len() > limits::FRAME {
        return (name(packet), Err(Error::TooLarge));
    }
    let Ok(mut arguments) = serde_json::from_str::<Vec<Value>>(text) else {
        return (
            name(packet),
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
    fn refuse(self, error: Error) {
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
                event: self.event,
                error: body,
            };
            if let Some(line) = line {
                line.put(size(&exception));
            }
            fitted(
                self.socket
                    .emit(server::EXCEPTION, &exception)
                    .err()
                    .as_ref(),
            )
        };
        (sent, code)
    }

    /// Whether there was room for it.
    fn acknowledge<T: Serialize>(&self, answer: &Ack<T>, line: Option<&Line>) -> bool {
        if self.ack_id.is_none() {
            return true;
        }
        if let Some(line) = line {
            line.put(size(answer));
        }
        // The library makes an acknowledgement only out of a message's parts, of which it looks at the id.
        let mut none = Packet::Bytes(bytes::Bytes::new());
        let Ok(ack) =
            AckSender::<Adapter>::from_message_parts(&self.socket, &mut none, &self.ack_id);
        fitted(ack.send(answer).err().as_ref())
    }
}

/// Whether it was sent, or the client is gone anyway.
fn fitted(error: Option<&SendError>) -> bool {
    let full = matches!(
        error,
        Some(SendError::Socket(SocketError::InternalChannelFull))
    );
    !full
}
