//! Following tickets for the sockets that are in them.
//!
//! A gateway subscribes to a ticket's channel while somebody is in it. What comes is handed to the ticket's
//! own task, which emits entries in the order of `seq` and reads the log where it sees a hole. Subscriptions
//! are made and ended by one task, in the order in which they were wanted, and made again after every
//! reconnect, because fred does not.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use fred::{clients::SubscriberClient, interfaces::EventInterface, types::Value};
use ticket_shared::{event::Nothing, id::Id, lifecycle::Lifecycle};
use tokio::sync::{broadcast::error::RecvError, mpsc, oneshot};

mod canary;
mod confirm;
mod room;
mod subscribe;

pub use room::{JoinRequest, LeaveRequest, Membership, Outcome, Seat, TYPING, changed};

use canary::Canary;
use subscribe::Wish;

use super::Tickets;
use crate::{
    adapter::Adapter,
    error::Error,
    join_budget::JoinBudget,
    mailbox::{self, Unsent, mailbox},
    metrics::Metrics,
    presence::Presence,
};

/// The Socket.IO server, with the product's adapter.
pub type Io = socketioxide::SocketIo<Adapter>;

/// How much may wait for one ticket's task. What comes beyond is read from the log later.
const QUEUE: usize = 1_024;

/// What a ticket's task is told.
enum Command {
    /// Something came over the channel.
    Frame(Bytes),
    /// Something may have been missed.
    CatchUp,
    /// Redis has another server: what was seen is compared with it. Answers whether it could be.
    Compare(oneshot::Sender<bool>),
    /// A socket comes in.
    Join(Box<JoinRequest>),
    /// A socket leaves.
    Leave(LeaveRequest),
    /// The process stops: everybody's connection ends.
    Release(oneshot::Sender<()>),
}

/// The tickets that this gateway follows. Cheap to clone.
#[derive(Clone)]
pub struct Follower(Arc<Inner>);

struct Inner {
    rooms: Mutex<HashMap<Id, Handle>>,
    wishes: mpsc::UnboundedSender<Wish>,
    shared: Shared,
    /// The connection of the channels, and whether every subscription was made on it.
    client: SubscriberClient,
    renewed: AtomicBool,
    canary: Canary,
    gateway: Id,
    /// Returns `true` if each partition has this gateway's answer for its server.
    confirmed: AtomicBool,
}

/// What every ticket's task works with.
#[derive(Clone)]
struct Shared {
    tickets: Tickets,
    presence: Arc<Presence>,
    joins: JoinBudget,
    life: Lifecycle,
    metrics: Metrics,
}

struct Handle {
    queue: mailbox::Sender<Command>,
    /// The queue was full: the task must read the log.
    missed: Arc<AtomicBool>,
}

impl Follower {
    /// Starts following over `client`, which is not connected yet. `gateway` tells this process from others.
    pub fn start(
        client: SubscriberClient,
        tickets: Tickets,
        presence: Arc<Presence>,
        life: &Lifecycle,
        metrics: Metrics,
        gateway: Id,
    ) -> Self {
        let canary = Canary::new(tickets.keys(), gateway);
        let (wishes, wish_list) = mpsc::unbounded_channel();
        let shared = Shared {
            tickets,
            presence,
            joins: JoinBudget::default(),
            life: life.clone(),
            metrics,
        };
        let rooms = Mutex::new(HashMap::new());
        let follower = Self(Arc::new(Inner {
            rooms,
            wishes,
            shared,
            client,
            renewed: AtomicBool::new(false),
            canary,
            gateway,
            confirmed: AtomicBool::new(false),
        }));
        life.spawn_vital("ticket channels", follower.clone().route(life.clone()));
        life.spawn_vital("ticket reconnects", follower.clone().watch(life.clone()));
        life.spawn_vital(
            "ticket subscriptions",
            follower.clone().subscribe(wish_list, life.clone()),
        );
        life.spawn_vital(
            "ticket canary",
            follower.clone().listen_to_itself(life.clone()),
        );
        life.spawn_vital(
            "gateway registry",
            follower.clone().stay_registered(life.clone()),
        );
        follower
    }

    /// The answers of joins that are built at the same time.
    pub fn joins(&self) -> &JoinBudget {
        &self.0.shared.joins
    }

    /// Lets a socket into a ticket, and answers it: by the ticket's task, so that the answer comes before any
    /// event that is not part of it. A failure is left to the caller to answer.
    pub fn join(&self, ticket: Id, request: JoinRequest) {
        let mut rooms = self.rooms();
        // A task that died must not lock its ticket.
        rooms.retain(|id, handle| *id != ticket || !handle.queue.is_closed());
        let handle = rooms.entry(ticket).or_insert_with(|| self.begin(ticket));
        if let Err(Unsent::Full(Command::Join(request)) | Unsent::Closed(Command::Join(request))) =
            handle.queue.try_send(Command::Join(Box::new(request)))
        {
            let error = Error::Overloaded("too many are joining this ticket");
            let outcome = Outcome {
                answered: Err(error),
                membership: Membership::Unchanged,
            };
            let _ = request.done.send(outcome);
        }
    }

    /// Lets a socket out of a ticket, and answers it where it asked.
    pub fn leave(&self, ticket: Id, request: LeaveRequest) {
        let queue = self.rooms().get(&ticket).map(|handle| handle.queue.clone());
        // Beyond the bound of the queue: where it got lost, events would go on to somebody whose connection has left.
        // One waits for each join at most.
        let unsent = match queue {
            Some(queue) => queue.send_beyond(Command::Leave(request)).err(),
            None => Some(Command::Leave(request)),
        };
        // Nobody follows the ticket here, so nobody is in it.
        if let Some(Command::Leave(LeaveRequest {
            reply: Some(reply), ..
        })) = unsent
        {
            reply.send(Ok(Nothing {}));
        }
    }

    /// Ends the leases of everybody here, because the process stops. Those who come back elsewhere within the
    /// grace were never away.
    pub async fn release(&self) {
        let queues: Vec<_> = self
            .rooms()
            .values()
            .map(|handle| handle.queue.clone())
            .collect();
        let mut released = Vec::new();
        for queue in queues {
            let (done, finished) = oneshot::channel();
            // A task that has ended has nobody in it.
            if queue.send_beyond(Command::Release(done)).is_ok() {
                released.push(finished);
            }
        }
        for finished in released {
            let _ = finished.await;
        }
    }

    /// Whether this gateway hears what is said in every partition, with every subscription made.
    pub fn hears(&self) -> bool {
        self.0.renewed.load(Ordering::Acquire) && self.0.canary.hears()
    }

    /// Whether this gateway ever heard itself in every partition: before, no join could succeed.
    pub fn heard_once(&self) -> bool {
        self.0.canary.heard_once()
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<Id, Handle>> {
        self.0.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a ticket's task. Called with the table locked, so that the wish to subscribe stands behind an
    /// earlier one to unsubscribe.
    fn begin(&self, ticket: Id) -> Handle {
        let (queue, commands) = mailbox(QUEUE);
        let missed = Arc::new(AtomicBool::new(false));
        let (done, subscribed) = oneshot::channel();
        // The receiver lives as long as the process.
        let _ = self.0.wishes.send(Wish::Subscribe(ticket, done));
        let room = room::Room::new(ticket, self.0.shared.clone(), Arc::clone(&missed));
        self.0
            .shared
            .life
            .spawn(room.run(self.clone(), commands, subscribed));
        Handle { queue, missed }
    }

    /// Ends following a ticket if nothing waits for it. Nothing can come in between: joins need the table.
    fn end(&self, ticket: Id, commands: &mailbox::Receiver<Command>) -> bool {
        let mut rooms = self.rooms();
        if !commands.is_empty() {
            return false;
        }
        rooms.remove(&ticket);
        let _ = self.0.wishes.send(Wish::Unsubscribe(ticket));
        true
    }

    /// Tells every ticket's task to read the log.
    fn catch_up_all(&self) {
        for handle in self.rooms().values() {
            handle.missed.store(true, Ordering::Release);
            // Full: the flag is seen when the queue moves.
            let _ = handle.queue.try_send(Command::CatchUp);
        }
    }

    /// Hands what comes over the channels to the tickets' tasks.
    async fn route(self, life: Lifecycle) {
        let mut messages = self.0.client.message_rx();
        let mut stopping = life.until_stopping();
        loop {
            let message = tokio::select! {
                () = &mut stopping => return,
                message = messages.recv() => message,
            };
            match message {
                Ok(message) => {
                    let Some(ticket) = self
                        .0
                        .shared
                        .tickets
                        .keys()
                        .ticket_of_channel(&message.channel)
                    else {
                        self.0.canary.came(&message.channel);
                        continue;
                    };
                    let frame = match message.value {
                        Value::String(text) => text.into_inner(),
                        Value::Bytes(bytes) => bytes,
                        _ => continue,
                    };
                    if let Some(handle) = self.rooms().get(&ticket)
                        && handle.queue.try_send(Command::Frame(frame)).is_err()
                    {
                        handle.missed.store(true, Ordering::Release);
                    }
                }
                Err(RecvError::Lagged(lost)) => {
                    tracing::warn!(
                        messages.lost = lost,
                        "ticket channels lagged, reading the logs"
                    );
                    self.0.shared.metrics.lagged.inc_by(lost);
                    self.catch_up_all();
                }
                Err(RecvError::Closed) => return,
            }
        }
    }
}
