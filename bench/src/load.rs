//! What the clients of one run share: the tickets, the gateways, the phase, and what each of them stands at.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ticket_shared::{
    domain::{Person, UserType},
    id::Id,
    lifecycle::Lifecycle,
};
use tokio::sync::{oneshot, watch};

use crate::{
    client,
    history::{self, Position, Ticket},
};

/// What the clients do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Nothing but being in their tickets.
    Quiet,
    /// Send.
    Sending,
    /// Send nothing new, but everything that is not acknowledged.
    Settling,
    /// End.
    Ended,
}

/// How much load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// How many tickets.
    pub tickets: u32,
    /// How many customers each ticket has.
    pub customers: u32,
    /// How many agents there are. Each ticket has two of them.
    pub agents: u32,
    /// In how many tickets each customer's connection is.
    pub spread: u32,
    /// How many messages a second all of them send.
    pub rate: u32,
    /// How many of its messages a client may have unacknowledged.
    pub window: usize,
}

/// One client of the load.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its number.
    pub number: u32,
    /// Who it is.
    pub person: Person,
    /// The tickets that it is in.
    pub tickets: Vec<Ticket>,
    /// The gateway that it begins at.
    pub home: usize,
    /// How long it waits from one message to the next.
    pub pace: Duration,
    /// How many of its messages may be unacknowledged.
    pub window: usize,
}

/// Where a client stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    /// How many of its messages are not acknowledged.
    pub unacked: usize,
    /// Where it is in each of its tickets: nowhere while it is not joined.
    pub positions: BTreeMap<Ticket, Option<Position>>,
}

/// What the clients of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// When the run began.
    pub began: Instant,
    /// The tickets.
    pub tickets: Vec<Id>,
    /// The gateways, as `host:port`.
    pub gateways: Vec<String>,
    /// What to do.
    pub phase: watch::Sender<Phase>,
    /// How many messages were acknowledged.
    pub acked: AtomicU64,
    /// How often a client was not let in, told when to come again.
    pub turned_away: AtomicU64,
    /// The same without a time.
    pub turned_away_blindly: AtomicU64,
    /// After how long an unanswered event means that the connection is dead.
    pub patience: Duration,
}

impl Shared {
    /// Milliseconds since the run began.
    pub(crate) fn now(&self) -> u32 {
        u32::try_from(self.began.elapsed().as_millis()).unwrap_or(u32::MAX)
    }
}

/// A client that runs.
struct Running {
    member: Member,
    status: Arc<Mutex<Status>>,
    ended: oneshot::Receiver<history::Client>,
}

/// The clients of a run.
pub(crate) struct Load {
    /// What they share.
    pub shared: Arc<Shared>,
    running: Vec<Running>,
}

impl Load {
    /// Starts the clients; they send once they are told to.
    pub(crate) fn start(
        life: &Lifecycle,
        size: Size,
        tickets: Vec<Id>,
        gateways: Vec<String>,
        patience: Duration,
    ) -> Self {
        let members = members(size, gateways.len());
        let shared = Arc::new(Shared {
            began: Instant::now(),
            tickets,
            gateways,
            phase: watch::Sender::new(Phase::Quiet),
            acked: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            turned_away_blindly: AtomicU64::new(0),
            patience,
        });
        let running = members
            .into_iter()
            .map(|member| {
                let status = Arc::new(Mutex::new(Status::default()));
                let (done, ended) = oneshot::channel();
                let client = client::run(Arc::clone(&shared), member.clone(), Arc::clone(&status));
                life.spawn(async move {
                    // Nobody waits any more where the run was given up.
                    let _ = done.send(client.await);
                });
                Running {
                    member,
                    status,
                    ended,
                }
            })
            .collect();
        Self { shared, running }
    }

    /// Tells all of them what to do.
    pub(crate) fn tell(&self, phase: Phase) {
        self.shared.phase.send_replace(phase);
    }

    /// How many messages were acknowledged.
    pub(crate) fn acked(&self) -> u64 {
        self.shared.acked.load(Ordering::Relaxed)
    }

    /// How many messages are not.
    pub(crate) fn unacked(&self) -> usize {
        self.running
            .iter()
            .map(|running| lock(&running.status).unacked)
            .sum()
    }

    /// How many views are not where they should be: in no ticket, or not at one of its heads, given for
    /// customers and for agents.
    pub(crate) fn behind(&self, heads: Option<&[(Position, Position)]>) -> usize {
        let behind = |running: &Running| {
            let status = lock(&running.status);
            let agent = running.member.person.user_type == UserType::Agent;
            let behind = running.member.tickets.iter().filter(|ticket| {
                let at = status.positions.get(ticket).and_then(Option::as_ref);
                let head = heads.and_then(|heads| heads.get(**ticket as usize));
                match (at, head) {
                    (None, _) => true,
                    (Some(_), None) => false,
                    (Some(at), Some((user, all))) => at != if agent { all } else { user },
                }
            });
            behind.count()
        };
        self.running.iter().map(behind).sum()
    }

    /// Ends the clients and returns what they did and saw.
    pub(crate) async fn end(self) -> Vec<history::Client> {
        self.tell(Phase::Ended);
        let mut clients = Vec::with_capacity(self.running.len());
        for running in self.running {
            // A client that panicked has nothing to tell; its messages will be missed.
            if let Ok(client) = running.ended.await {
                clients.push(client);
            }
        }
        clients
    }
}

/// The status, also of a client that panicked.
pub(crate) fn lock(status: &Mutex<Status>) -> MutexGuard<'_, Status> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who is in which tickets, and where.
fn members(size: Size, gateways: usize) -> Vec<Member> {
    let spread = size.spread.max(1);
    let groups = size.tickets.div_ceil(spread);
    let customers = groups * size.customers;
    let number = customers + size.agents;
    let pace = Duration::from_secs(1) * number / size.rate.max(1);
    let mut members = Vec::new();
    let mut add = |side: UserType, tickets: Vec<Ticket>, home: usize| {
        let number = u32::try_from(members.len()).unwrap_or(u32::MAX);
        let name = format!("{}-{number}", side.as_str());
        members.push(Member {
            number,
            person: Person {
                user_id: name.clone(),
                user_type: side,
                user_name: name,
            },
            tickets,
            home: home % gateways.max(1),
            pace,
            window: size.window,
        });
    };
    for group in 0..groups {
        for customer in 0..size.customers {
            let end = ((group + 1) * spread).min(size.tickets);
            let tickets = (group * spread..end).collect();
            // The customers of a ticket are on different gateways.
            add(UserType::User, tickets, (group + customer) as usize);
        }
    }
    for agent in 0..size.agents {
        let half = size.agents.div_ceil(2).max(1);
        let mine = |ticket: &Ticket| ticket % half == agent % half;
        add(
            UserType::Agent,
            (0..size.tickets).filter(mine).collect(),
            (agent / half) as usize,
        );
    }
    members
}
