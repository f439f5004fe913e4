//! The table of scenarios: their names, which sides they are run on, and how.

use super::{
    bed::{Context, Side},
    closed, flooded, idle, joins,
    open::{self, Figures, Open},
    stalled, worker,
};

/// Every scenario.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scenario {
    /// The closed loop.
    Closed,
    /// The open loop at a rate.
    Open(u64),
    /// One ticket with so many members, at a rate.
    Fanout(usize, u64),
    /// Connections that do nothing.
    Idle,
    /// Joins and reconnects.
    Joins,
    /// A standing backlog.
    Worker,
    /// Readers beside clients that read nothing.
    Stalled,
    /// Readers beside a client that floods.
    Flood,
    /// The open loop with so many gateways and tickets, a customer in each.
    Growth(usize, usize),
}

/// All of them, by name.
pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("closed", Scenario::Closed),
    ("open-500", Scenario::Open(500)),
    ("open-1000", Scenario::Open(1_000)),
    ("open-2000", Scenario::Open(2_000)),
    ("open-5000", Scenario::Open(5_000)),
    ("fanout-20", Scenario::Fanout(500, 20)),
    ("fanout-250", Scenario::Fanout(500, 250)),
    ("fanout-1000x150", Scenario::Fanout(1_000, 150)),
    ("idle", Scenario::Idle),
    ("joins", Scenario::Joins),
    ("worker", Scenario::Worker),
    ("stalled", Scenario::Stalled),
    ("flood", Scenario::Flood),
    ("growth-gateways-1", Scenario::Growth(1, 100)),
    ("growth-gateways-2", Scenario::Growth(2, 100)),
    ("growth-gateways-4", Scenario::Growth(4, 100)),
    ("growth-tickets-100", Scenario::Growth(2, 100)),
    ("growth-tickets-1000", Scenario::Growth(2, 1_000)),
    ("growth-tickets-10000", Scenario::Growth(2, 10_000)),
];

/// The messages a second of the growth scenarios.
const GROWTH_RATE: u64 = 1_000;

impl Scenario {
    /// Which sides it is run on.
    pub(crate) const fn sides(self) -> &'static [Side] {
        match self {
            Self::Closed => &[Side::Product, Side::Node, Side::NodeAlone, Side::NodeBest],
            Self::Open(2_000) => &[Side::Product, Side::Node, Side::NodeBest],
            Self::Open(_) | Self::Fanout(500, _) | Self::Idle => &[Side::Product, Side::Node],
            Self::Fanout(..)
            | Self::Joins
            | Self::Worker
            | Self::Stalled
            | Self::Flood
            | Self::Growth(..) => &[Side::Product],
        }
    }

    /// Runs it once on a side.
    ///
    /// # Errors
    /// Where it can't be run to its end.
    pub(crate) async fn run(self, context: &Context, side: Side) -> anyhow::Result<Figures> {
        let open = |gateways, tickets, people, writers, rate| Open {
            gateways,
            tickets,
            people,
            writers,
            rate,
            seconds: context.pick(10, 3),
        };
        match self {
            Self::Closed => closed::run(context, side, 2).await,
            Self::Open(rate) => open::run(context, side, open(2, 50, 2, 2, rate)).await,
            Self::Fanout(people, rate) => {
                open::run(context, side, open(2, 1, people, 10, rate)).await
            }
            Self::Idle => idle::run(context, side, context.pick(20_000, 2_000)).await,
            Self::Joins => joins::run(context, side, context.pick(5_000, 1_000)).await,
            Self::Worker => worker::run(context, context.pick(200_000, 40_000)).await,
            Self::Stalled => stalled::run(context, side).await,
            Self::Flood => flooded::run(context, side).await,
            Self::Growth(gateways, tickets) => {
                let tickets = context.pick(tickets, tickets.min(1_000));
                let open = open(gateways, tickets, 1, 1, GROWTH_RATE);
                open::run(context, side, open).await
            }
        }
    }
}
