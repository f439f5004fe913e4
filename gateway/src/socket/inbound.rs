//! From the read loop to the handler: a socket's queue.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
    time::Instant,
};

use socketioxide::{
    extract::SocketRef,
    handler::{FromMessageParts, Value as Packet},
    socket::Socket,
};
use ticket_shared::id::Id;
use tokio::sync::Notify;

use super::{
    Reply,
    event::{Event, name_of},
    left_seats::LeftSeats,
};
use crate::{
    access::{Caller, Counted},
    adapter::Adapter,
    admission::{Account, EventRate, Line},
    app::App,
    audit::Cut,
    error::Error,
    identify::claims_of,
    mailbox::{self, mailbox},
    ticket::follow::Seat,
};

/// The bytes that the events of one socket may hold while they wait.
const QUEUE_BYTES: usize = 2 * 1024 * 1024;
/// The library has called the connect handler of the socket.
const ENTERED: u8 = 1;
/// It has called the disconnect handler, which may be before the other.
const GONE: u8 = 2;

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
    queue: mailbox::Sender<Item>,
    entered: Notify,
    in_queue: AtomicBool,
    events: AtomicUsize,
    bytes: AtomicUsize,
    joined: Mutex<HashMap<Id, Arc<Seat>>>,
    pub(super) leaving: LeftSeats,
    caller: Mutex<Caller>,
    /// The tickets that it had to leave because its token ended.
    shut: Mutex<Vec<Id>>,
    account: Arc<Account>,
    rate: Arc<EventRate>,
    /// [`ENTERED`] and [`GONE`].
    phase: AtomicU8,
}

/// One thing in a socket's queue.
#[derive(Debug)]
pub(super) enum Item {
    // Boxed: an item is as large as its largest kind.
    Event(Box<Inbound>),
    Closed(SocketRef<Adapter>),
}

impl Connection {
    /// A connection, and the end of its queue.
    pub(super) fn new(
        account: Arc<Account>,
        rate: Arc<EventRate>,
        caller: Caller,
    ) -> (Self, mailbox::Receiver<Item>) {
        // Bounded by the two counters, so that the end of the connection always fits.
        let (queue, items) = mailbox(usize::MAX);
        let zero = AtomicUsize::default;
        (
            Self {
                queue,
                entered: Notify::new(),
                in_queue: AtomicBool::new(false),
                events: zero(),
                bytes: zero(),
                joined: Mutex::default(),
                leaving: LeftSeats::default(),
                caller: Mutex::new(caller),
                shut: Mutex::default(),
                account,
                rate,
                phase: AtomicU8::new(0),
            },
            items,
        )
    }

    /// The tickets that the socket is in, and its place in each.
    pub(super) fn joined(&self) -> MutexGuard<'_, HashMap<Id, Arc<Seat>>> {
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

    /// The tickets that it had to leave because its token ended.
    pub(super) fn shut(&self) -> MutexGuard<'_, Vec<Id>> {
        self.shut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the socket as connected. Returns whether it is counted from now on: not if it is gone already.
    pub(super) fn enter(&self) -> bool {
        let counts = self.phase.fetch_or(ENTERED, Ordering::AcqRel) & GONE == 0;
        if counts {
            self.account.entered();
        }
        self.entered.notify_one();
        counts
    }

    /// Marks the socket as gone. Returns whether it was counted.
    pub(super) fn leave(&self) -> bool {
        self.phase.fetch_or(GONE, Ordering::AcqRel) & ENTERED != 0
    }

    /// The account of the session.
    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Waits until it is. The library tells the client first, who may answer at once; and what is sent to a socket
    /// that is not connected goes nowhere.
    pub(super) async fn entered(&self) {
        self.entered.notified().await;
    }

    /// Whether the socket follows the queue.
    pub fn in_queue(&self) -> bool {
        self.in_queue.load(Ordering::Acquire)
    }

    /// From now on it does, or does not.
    pub(super) fn set_in_queue(&self, follows: bool) {
        self.in_queue.store(follows, Ordering::Release);
    }

    /// The way out to the client.
    pub fn line(&self) -> &Arc<Line> {
        self.account.line()
    }

    /// Counts an event. A client that goes on for long after being refused is cut off.
    fn admit(&self) -> Result<(), Error> {
        self.account
            .admission()
            .event(&self.rate)
            .map_err(|refused| {
                if refused.abuse {
                    self.cut_off();
                }
                refused.error
            })
    }

    /// Counts that the client left the namespace, so that leaving and coming back is not free.
    pub(super) fn count_leaving(&self) {
        // It has left, whatever its rate says.
        let _ = self.account.admission().event(&self.rate);
    }

    /// How its appends to one ticket are counted where all gateways meet, if they are.
    pub(super) fn counted(&self) -> Option<Counted> {
        self.rate.counted()
    }

    /// Counts an append that was refused there.
    pub(super) fn refused_elsewhere(&self) {
        if self.account.admission().refused_elsewhere(&self.rate) {
            self.cut_off();
        }
    }

    fn cut_off(&self) {
        // What still arrives over it is refused, too.
        if !self.line().ended() {
            let caller = self.caller();
            let claims = claims_of(&caller).map(Arc::as_ref);
            self.account.admission().audit().cut(Cut::Flood, claims);
        }
        self.line().close();
    }

    /// An event was taken out of the queue.
    pub(super) fn taken(&self, bytes: usize) {
        self.events.fetch_sub(1, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// The connection ended; what waits is handled first.
    pub(super) fn close(&self, socket: SocketRef<Adapter>) {
        // The other end is gone only when the process stops.
        let _ = self.queue.try_send(Item::Closed(socket));
    }

    /// Puts an event into the queue, or gives it back where that is full.
    fn put(&self, inbound: Inbound) -> Option<Inbound> {
        let bytes = inbound.bytes();
        let events = self.events.fetch_add(1, Ordering::AcqRel);
        let waiting = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let full = events >= self.account.admission().limits().inflight_events
            || waiting + bytes > QUEUE_BYTES;
        let refused = if full {
            Some(inbound)
        } else {
            self.queue
                .try_send(Item::Event(Box::new(inbound)))
                .err()
                .and_then(|unsent| match unsent.into_inner() {
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

/// One event of a client in the queue.
#[derive(Debug)]
pub(super) struct Inbound {
    pub event: Event,
    pub reply: Reply,
    pub arrived: Instant,
}

impl Inbound {
    /// The bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        // The reply holds the name once more.
        size_of::<Self>() + self.event.held() + self.event.name_held()
    }
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
        let reply = |event| Reply::new(event, *ack_id, socket);
        let connection = socket.extensions.get::<Arc<Connection>>();
        // Before anything is made of it: a flood must cost next to nothing.
        if let Some(Err(error)) = connection.as_ref().map(|connection| connection.admit()) {
            reply(name_of(packet)).refuse(error);
            return Ok(Self);
        }
        let event = Event::of(packet);
        let inbound = Inbound {
            reply: reply(event.name.clone()),
            event,
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
