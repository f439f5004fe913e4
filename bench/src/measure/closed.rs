//! The closed loop: a customer and an agent in each ticket, each with a few messages on their way at any time,
//! and the next one as soon as one is acknowledged and has reached both.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};

use super::{
    bed::{Bed, Context, SERVERS, Side},
    cost::{Costs, spent},
    message::{Heard, Tag, hear, sending},
    open::{Figures, real},
    order::Order,
    wire::{Lost, Wire},
};

/// How many tickets.
pub(crate) const TICKETS: usize = 50;
/// How many messages of a sender are on their way.
const WINDOW: u64 = 4;
/// Within which time a message is through, or lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the pairs count, and until when they send.
#[derive(Debug)]
pub(crate) struct Loop {
    through: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    ended: mpsc::UnboundedReceiver<Result<[Order; 2], Lost>>,
    pairs: usize,
}

impl Loop {
    /// Begins to send, in all tickets.
    ///
    /// # Errors
    /// Where a client is not let in.
    pub(crate) async fn begin(context: &Context, bed: &Bed) -> anyhow::Result<Self> {
        let wires = bed.join(2).await?;
        let through = Arc::new(AtomicU64::new(0));
        let stop = watch::Sender::new(false);
        let (done, ended) = mpsc::unbounded_channel();
        let mut wires = wires.into_iter();
        let mut pairs = 0;
        while let (Some(customer), Some(agent)) = (wires.next(), wires.next()) {
            let pair = Pair {
                wires: [customer, agent],
                ticket: bed.tickets[pairs].clone(),
                first: u32::try_from(pairs * 2)?,
                flights: [const { Vec::new() }; 2],
                numbers: [0; 2],
                orders: [Order::default(), Order::default()],
                through: Arc::clone(&through),
            };
            pairs += 1;
            let (done, stop) = (done.clone(), stop.subscribe());
            context.life.spawn(async move {
                // Nobody waits any more where the run was given up.
                let _ = done.send(pair.run(stop).await);
            });
        }
        Ok(Self {
            through,
            stop,
            ended,
            pairs,
        })
    }

    /// How many messages are through.
    pub(crate) fn through(&self) -> u64 {
        self.through.load(Ordering::Relaxed)
    }

    /// Sends nothing new and waits for what is on its way. Returns the inversions, and the tickets whose two sides
    /// saw different orders.
    ///
    /// # Errors
    /// Where a message is lost, or a connection.
    pub(crate) async fn end(&mut self) -> anyhow::Result<(u64, u64)> {
        self.stop.send_replace(true);
        let (mut inversions, mut different) = (0, 0);
        for _ in 0..self.pairs {
            let Some(pair) = self.ended.recv().await else {
                break;
            };
            let [customer, agent] = pair?;
            inversions += customer.inversions + agent.inversions;
            different += u64::from(!customer.same(&agent));
        }
        Ok((inversions, different))
    }
}

/// Runs it once.
///
/// # Errors
/// Where it can't be run, or a message is lost.
pub(crate) async fn run(context: &Context, side: Side, gateways: usize) -> anyhow::Result<Figures> {
    let bed = Bed::start(context, side, gateways, 1, TICKETS).await?;
    let mut pairs = Loop::begin(context, &bed).await?;
    sleep(Duration::from_secs(context.pick(3, 1))).await;
    let (before, earlier, began) = (bed.costs()?, pairs.through(), Instant::now());
    sleep(Duration::from_secs(context.pick(10, 3))).await;
    let rate = real(pairs.through() - earlier) / began.elapsed().as_secs_f64();
    let whole = bed.costs()?;
    let share = spent(&before, &whole, &["load"]) / began.elapsed().as_secs_f64();
    let (inversions, different) = pairs.end().await?;
    bed.settled().await?;
    let after = bed.costs()?;
    let through = pairs.through();
    let stored = bed.stored().await?;
    let mut figures = costs_per_thousand(&before, &after, through - earlier);
    figures.extend([
        // Each message reaches two.
        ("delivered/s", rate * 2.0),
        ("load cores", share),
        ("inversions", real(inversions)),
        ("tickets in two orders", real(different)),
        ("not stored", real(through.saturating_sub(stored))),
    ]);
    Ok(figures)
}

/// CPU seconds for a thousand messages, by who spent them.
pub(crate) fn costs_per_thousand(before: &Costs, after: &Costs, messages: u64) -> Figures {
    let per = |names: &[&str]| spent(before, after, names) * 1_000.0 / real(messages.max(1));
    Figures::from([
        ("cpu", per(SERVERS)),
        ("cpu front", per(&["gateway", "node"])),
        ("cpu redis", per(&["redis"])),
        ("cpu worker", per(&["worker"])),
        ("cpu mongodb", per(&["mongodb"])),
        ("cpu load", per(&["load"])),
    ])
}

/// A customer and an agent.
struct Pair {
    wires: [Wire; 2],
    ticket: String,
    /// The number of the customer; the agent has the next.
    first: u32,
    /// What each has on its way: the number, and what is still missing of the answer and two deliveries.
    flights: [Vec<(u64, u8)>; 2],
    numbers: [u64; 2],
    orders: [Order; 2],
    through: Arc<AtomicU64>,
}

impl Pair {
    async fn run(mut self, stop: watch::Receiver<bool>) -> Result<[Order; 2], Lost> {
        let mut until = Instant::now() + PATIENCE;
        loop {
            let stopped = *stop.borrow();
            if !stopped {
                self.send()?;
            } else if self.flights.iter().all(Vec::is_empty) {
                return Ok(self.orders);
            }
            let known = self.through.load(Ordering::Relaxed);
            let mut packets = [const { Vec::new() }; 2];
            let [to_customer, to_agent] = &mut packets;
            let [customer, agent] = &mut self.wires;
            tokio::select! {
                read = customer.read(|packet| to_customer.push(hear(packet))) => read?,
                read = agent.read(|packet| to_agent.push(hear(packet))) => read?,
                () = tokio::time::sleep_until(until) => return Err(Lost::Protocol("a message is lost")),
            }
            for (side, packets) in packets.into_iter().enumerate() {
                for heard in packets {
                    self.heard(side, heard)?;
                }
            }
            if self.through.load(Ordering::Relaxed) != known {
                until = Instant::now() + PATIENCE;
            }
        }
    }

    fn send(&mut self) -> Result<(), Lost> {
        for (side, sender) in (0..2).zip(self.first..) {
            while (self.flights[side].len() as u64) < WINDOW {
                self.numbers[side] += 1;
                let number = self.numbers[side];
                self.flights[side].push((number, 3));
                let tag = Tag {
                    sender,
                    number,
                    at: 0,
                };
                let packet = sending(number, &self.ticket, tag);
                self.wires[side].line.write(&packet)?;
            }
        }
        Ok(())
    }

    fn heard(&mut self, side: usize, heard: Heard) -> Result<(), Lost> {
        let (sender, number) = match heard {
            Heard::Delivered(tag) => {
                self.orders[side].saw(tag);
                ((tag.sender % 2) as usize, tag.number)
            }
            Heard::Answered(number, true) => (side, number),
            Heard::Answered(_, false) => return Err(Lost::Protocol("a message is refused")),
            Heard::Other => return Ok(()),
        };
        let flights = &mut self.flights[sender];
        if let Some(place) = flights.iter().position(|(flying, _)| *flying == number) {
            flights[place].1 -= 1;
            if flights[place].1 == 0 {
                flights.swap_remove(place);
                self.through.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// Sends in a closed loop until so many messages are through, and ends.
///
/// # Errors
/// As [`run`].
pub(crate) async fn fill(context: &Context, bed: &Bed, messages: u64) -> anyhow::Result<u64> {
    let mut pairs = Loop::begin(context, bed).await?;
    let until = Instant::now() + Duration::from_mins(5);
    while pairs.through() < messages {
        ensure!(
            Instant::now() < until,
            "no backlog of {messages} in 5 minutes"
        );
        sleep(Duration::from_millis(5)).await;
    }
    pairs.end().await?;
    Ok(pairs.through())
}
