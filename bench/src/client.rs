//! One client: a person on one connection at a time, in some tickets, that does what a good client does.
//!
//! It joins, sends, repeats what is not acknowledged under the same id, goes to the next gateway when its
//! connection is lost, resumes from where it was, and joins again where it sees a gap or is told to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use ticket_shared::id::Id;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    chance,
    history::{self, Key, Record, Ticket, What},
    load::{self, Member, Phase, Shared, Status},
    packet::{PONG, Packet},
    socket::{Lost, Socket},
};

pub(crate) mod answers;
mod asks;
mod outbox;
mod view;

use outbox::Outbox;
use view::View;

/// The first wait before another connection, and the longest.
const BACKOFF: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// A client's state, which outlives its connections.
struct Client {
    shared: Arc<Shared>,
    member: Member,
    status: Arc<Mutex<Status>>,
    records: Vec<Record>,
    views: HashMap<Ticket, View>,
    outbox: Outbox,
    /// What is asked and not answered on this connection, by the id of the answer.
    asked: HashMap<u64, Asked>,
    next_id: u64,
    next_send: Instant,
    gateway: usize,
    connection: u32,
    /// When to go because this gateway is about to stop.
    leave_at: Option<Instant>,
}

/// Something that was asked.
struct Asked {
    until: Instant,
    what: Ask,
}

/// What was asked.
enum Ask {
    Join(Ticket),
    Send(Key),
    Change(Ticket),
}

impl Ask {
    /// Its name in reports.
    const fn name(&self) -> &'static str {
        match self {
            Self::Join(_) => "joins",
            Self::Send(_) => "sends",
            Self::Change(_) => "changes",
        }
    }
}

/// Runs a client until the load ends.
pub(crate) async fn run(
    shared: Arc<Shared>,
    member: Member,
    status: Arc<Mutex<Status>>,
) -> history::Client {
    let views = member
        .tickets
        .iter()
        .map(|ticket| (*ticket, View::new(member.person.user_type)));
    let mut client = Client {
        views: views.collect(),
        outbox: Outbox::new(member.number),
        // Many who write seldom don't all begin at once.
        next_send: Instant::now() + chance::up_to(member.pace.max(Duration::from_secs(1))),
        gateway: member.home,
        records: Vec::new(),
        asked: HashMap::new(),
        next_id: 0,
        connection: 0,
        leave_at: None,
        shared,
        member,
        status,
    };
    client.live().await;
    history::Client {
        number: client.member.number,
        side: client.member.person.user_type,
        tickets: client.member.tickets,
        records: client.records,
    }
}

impl Client {
    /// One connection after the other.
    async fn live(&mut self) {
        let mut phase = self.shared.phase.subscribe();
        let mut wait = BACKOFF[0];
        while *phase.borrow_and_update() != Phase::Ended {
            let gateway = self.shared.gateways[self.gateway].clone();
            // What the server asks for comes on top of this client's own wait, whose jitter spreads everybody.
            let mut asked_for = Duration::ZERO;
            match Socket::connect(&gateway).await {
                Ok(mut socket) => {
                    wait = BACKOFF[0];
                    self.connection += 1;
                    self.record(What::Connected);
                    let lost = self.session(&mut socket, &mut phase).await;
                    self.disconnected();
                    if lost.is_ok() {
                        return;
                    }
                }
                Err(Lost::TurnedAway(after)) => asked_for = self.turned_away(after),
                Err(_) => {}
            }
            self.gateway = (self.gateway + 1) % self.shared.gateways.len();
            let pause = Instant::now() + asked_for + chance::jittered(wait);
            wait = (wait * 2).min(BACKOFF[1]);
            tokio::select! {
                () = sleep_until(pause) => {}
                _ = phase.wait_for(|phase| *phase == Phase::Ended) => return,
            }
        }
    }

    /// One connection, until it is lost (an error) or the load ends.
    async fn session(
        &mut self,
        socket: &mut Socket,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<(), Lost> {
        loop {
            let now = *phase.borrow_and_update();
            if now == Phase::Ended {
                return Ok(());
            }
            self.ask_what_is_due(socket, now).await?;
            self.publish();
            let wake = self.next_wake(now);
            tokio::select! {
                packet = socket.next() => match packet? {
                    Packet::Ping => socket.write(PONG.to_owned()).await?,
                    Packet::Closed => return Err(Lost::Closed),
                    Packet::Event(name, payload) => self.event(&name, &payload),
                    Packet::Ack(id, answer) => self.answered(id, &answer),
                    _ => {}
                },
                () = sleep_until(wake) => {}
                _ = phase.changed() => {}
            }
        }
    }

    /// Counts that there was no place, and says for how long to stay away at least.
    fn turned_away(&self, after: Option<Duration>) -> Duration {
        let counter = match after {
            Some(_) => &self.shared.turned_away,
            None => &self.shared.turned_away_blindly,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        after.unwrap_or_default()
    }

    fn disconnected(&mut self) {
        self.record(What::Disconnected);
        self.leave_at = None;
        for asked in std::mem::take(&mut self.asked).into_values() {
            if let Ask::Send(key) = asked.what {
                self.outbox.unanswered(key);
            }
        }
        self.views.values_mut().for_each(View::disconnected);
        self.publish();
    }

    /// When there is something to do even if nothing comes.
    fn next_wake(&self, phase: Phase) -> Instant {
        let far = Instant::now() + Duration::from_millis(500);
        let sends = (phase == Phase::Sending && self.outbox.len() < self.member.window)
            .then_some(self.next_send);
        let joins = self.views.values().filter_map(View::join_due);
        let asked = self.asked.values().map(|asked| asked.until);
        let all = sends.into_iter().chain(joins).chain(asked);
        all.chain(self.outbox.due())
            .chain(self.leave_at)
            .fold(far, Instant::min)
    }

    fn record(&mut self, what: What) {
        self.records.push(Record {
            at: self.shared.now(),
            connection: self.connection,
            gateway: u8::try_from(self.gateway).unwrap_or(u8::MAX),
            what,
        });
    }

    /// Says where this client stands.
    fn publish(&self) {
        let mut status = load::lock(&self.status);
        status.unacked = self.outbox.len();
        for (ticket, view) in &self.views {
            let at = view.in_sync();
            // Only what changed: most of the time it is one ticket of many.
            match status.positions.get_mut(ticket) {
                Some(known) if known.as_ref() == at => {}
                Some(known) => *known = at.cloned(),
                None => drop(status.positions.insert(*ticket, at.cloned())),
            }
        }
    }

    fn ticket_id(&self, ticket: Ticket) -> Id {
        self.shared.tickets[ticket as usize]
    }

    fn ticket_of(&self, payload: &serde_json::Value) -> Option<Ticket> {
        let id: Id = payload.as_str()?.parse().ok()?;
        self.member
            .tickets
            .iter()
            .copied()
            .find(|ticket| self.ticket_id(*ticket) == id)
    }

    fn acked(&self) {
        self.shared.acked.fetch_add(1, Ordering::Relaxed);
    }
}
