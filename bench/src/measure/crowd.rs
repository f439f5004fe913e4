//! People who listen: each connection in a task of its own, all of them counting into one tally.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ticket_shared::lifecycle::Lifecycle;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    latency::Latency,
    message::{Clock, Heard, hear},
    order::Order,
    wire::{Line, Wire},
};

/// What everybody counts into.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Messages that arrived, once for each member.
    pub delivered: AtomicU64,
    /// Answers that say yes, and those that say no.
    pub answered: [AtomicU64; 2],
    /// Connections that ended.
    pub lost: AtomicU64,
    /// Times of deliveries and of answers.
    times: Mutex<[Latency; 2]>,
    /// What each member saw, by ticket.
    orders: Mutex<HashMap<usize, Vec<Order>>>,
    /// What was due before is no part of the times: nothing is, until somebody says from when on.
    from: AtomicU64,
}

impl Tally {
    fn new() -> Self {
        Self {
            delivered: AtomicU64::new(0),
            answered: [AtomicU64::new(0), AtomicU64::new(0)],
            lost: AtomicU64::new(0),
            times: Mutex::new([Latency::new(), Latency::new()]),
            orders: Mutex::default(),
            from: AtomicU64::new(u64::MAX),
        }
    }

    /// Begins the times at what is due from now on.
    pub(crate) fn time_from(&self, at: u64) {
        self.from.store(at, Ordering::Relaxed);
    }

    /// The times of deliveries, and those of answers.
    pub(crate) fn times(&self) -> [Latency; 2] {
        lock(&self.times).clone()
    }

    /// The same, and begins them anew.
    pub(crate) fn take_times(&self) -> [Latency; 2] {
        std::mem::replace(&mut *lock(&self.times), [Latency::new(), Latency::new()])
    }

    /// How many inversions there were, and in how many tickets two members saw different orders. Complete once
    /// nobody listens any more.
    pub(crate) fn disorder(&self) -> (u64, u64) {
        let orders = lock(&self.orders);
        let inversions = orders.values().flatten().map(|order| order.inversions);
        let differ = |seen: &&Vec<Order>| seen.iter().any(|order| !order.same(&seen[0]));
        let different = orders.values().filter(differ).count();
        (inversions.sum(), different as u64)
    }

    fn hear(&self, packet: &[u8], now: u64, order: &mut Order) {
        let from = self.from.load(Ordering::Relaxed);
        match hear(packet) {
            Heard::Delivered(tag) => {
                order.saw(tag);
                self.delivered.fetch_add(1, Ordering::Relaxed);
                if tag.at >= from {
                    lock(&self.times)[0].record(tag.at, now);
                }
            }
            // An event of this load carries the time when it was due as the id of its answer.
            Heard::Answered(at, good) => {
                self.answered[usize::from(!good)].fetch_add(1, Ordering::Relaxed);
                if at >= from {
                    lock(&self.times)[1].record(at, now);
                }
            }
            Heard::Other => {}
        }
    }
}

/// People on their connections.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// Their ways to the server, by number.
    pub lines: Vec<Arc<Line>>,
    /// What they saw.
    pub tally: Arc<Tally>,
    stop: watch::Sender<bool>,
}

impl Crowd {
    /// Lets them listen; `people` are in each ticket.
    pub(crate) fn gather(life: &Lifecycle, clock: Clock, wires: Vec<Wire>, people: usize) -> Self {
        let tally = Arc::new(Tally::new());
        let stop = watch::Sender::new(false);
        let lines = wires.iter().map(|wire| Arc::clone(&wire.line)).collect();
        for (person, wire) in wires.into_iter().enumerate() {
            let (tally, ended) = (Arc::clone(&tally), stop.subscribe());
            life.spawn(listen(tally, clock, wire, person / people, ended));
        }
        Self { lines, tally, stop }
    }

    /// Waits until so many messages arrived, but not much longer than they keep arriving.
    pub(crate) async fn heard(&self, expected: u64, patience: Duration) {
        let mut known = 0;
        let mut until = Instant::now() + patience;
        while known < expected && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
            let now = self.tally.delivered.load(Ordering::Relaxed);
            if now > known {
                (known, until) = (now, Instant::now() + patience);
            }
        }
    }

    /// Ends all connections.
    pub(crate) async fn leave(self) -> Arc<Tally> {
        self.stop.send_replace(true);
        drop(self.lines);
        self.stop.closed().await;
        self.tally
    }
}

async fn listen(
    tally: Arc<Tally>,
    clock: Clock,
    mut wire: Wire,
    ticket: usize,
    mut ended: watch::Receiver<bool>,
) {
    let mut order = Order::default();
    loop {
        let heard = |packet: &[u8]| tally.hear(packet, clock.now(), &mut order);
        tokio::select! {
            read = wire.read(heard) => if read.is_err() {
                tally.lost.fetch_add(1, Ordering::Relaxed);
                break;
            },
            _ = ended.wait_for(|ended| *ended) => break,
        }
    }
    lock(&tally.orders).entry(ticket).or_default().push(order);
}

/// Nobody panics between two changes that belong together.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
