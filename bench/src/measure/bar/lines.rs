//! The lines of the bar.

/// How a figure is held against the bar.
#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    /// The product's, at most this.
    Most(f64),
    /// At least.
    Least(f64),
    /// At most so many times that of the baseline.
    MostOf(f64, &'static str),
    /// At least.
    LeastOf(f64, &'static str),
    /// At most this part more than the lowest of the product's over these scenarios.
    Flat(f64, &'static [&'static str]),
}

/// A line of the bar.
pub(super) struct Line {
    /// Of the points of the bar.
    pub point: u8,
    /// What is measured, with its unit.
    pub what: &'static str,
    /// Where the product's figure is from.
    pub scenario: &'static str,
    /// The name of the figure, on both sides.
    pub figure: &'static str,
    /// What keeps it.
    pub need: Need,
}

const fn line(
    point: u8,
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    need: Need,
) -> Line {
    Line {
        point,
        what,
        scenario,
        figure,
        need,
    }
}

const GATEWAYS: &[&str] = &[
    "growth-gateways-1",
    "growth-gateways-2",
    "growth-gateways-4",
];
const TICKETS: &[&str] = &[
    "growth-tickets-100",
    "growth-tickets-1000",
    "growth-tickets-10000",
];

/// All lines.
pub(super) const BAR: &[Line] = &[
    line(
        1,
        "deliveries a second",
        "closed",
        "delivered/s",
        Need::LeastOf(10.0, "closed"),
    ),
    line(
        2,
        "CPU-s of all servers for 1,000 messages",
        "closed",
        "cpu",
        Need::MostOf(0.1, "closed"),
    ),
    line(
        3,
        "p99 at 2,000 messages/s, ms",
        "open-2000",
        "p99",
        Need::MostOf(0.05, "open-2000"),
    ),
    line(
        3,
        "p99.9 at 2,000 messages/s, ms",
        "open-2000",
        "p99.9",
        Need::MostOf(0.1, "open-2000"),
    ),
    line(
        3,
        "p99 at 5,000 messages/s against Node's at 1,000, ms",
        "open-5000",
        "p99",
        Need::MostOf(1.0, "open-1000"),
    ),
    line(
        4,
        "bytes for an idle connection in a ticket",
        "idle",
        "bytes",
        Need::Most(10_240.0),
    ),
    line(
        4,
        "idle connections held",
        "idle",
        "held",
        Need::Least(20_000.0),
    ),
    line(
        5,
        "500 members, 250 messages/s: p99, ms",
        "fanout-250",
        "p99",
        Need::MostOf(0.5, "fanout-250"),
    ),
    line(
        5,
        "500 members, 250 messages/s: CPU-s for 1,000",
        "fanout-250",
        "cpu",
        Need::MostOf(1.0 / 3.0, "fanout-250"),
    ),
    line(
        5,
        "1,000 members, 150 messages/s: p99, ms",
        "fanout-1000x150",
        "p99",
        Need::Most(10.0),
    ),
    line(
        6,
        "entries stored a second",
        "worker",
        "entries/s",
        Need::Least(30_000.0),
    ),
    line(
        6,
        "the worker's memory, its highest by that of the first fifth",
        "worker",
        "rss growth",
        Need::Most(1.2),
    ),
    line(
        7,
        "p99 of joins at 1,000/s, ms",
        "joins",
        "p99",
        Need::Most(3.0),
    ),
    line(
        7,
        "all back after a cut, s",
        "joins",
        "back in s",
        Need::Most(5.0),
    ),
    line(
        7,
        "of them, not resumed",
        "joins",
        "not resumed",
        Need::Most(0.0),
    ),
    line(
        7,
        "MongoDB's reads meanwhile",
        "joins",
        "mongodb reads",
        Need::Most(0.0),
    ),
    line(
        8,
        "CPU-s for 1,000 messages over 1, 2, 4 gateways",
        "",
        "cpu",
        Need::Flat(0.2, GATEWAYS),
    ),
    line(
        8,
        "CPU-s for 1,000 messages over 100, 1,000, 10,000 tickets",
        "",
        "cpu",
        Need::Flat(0.2, TICKETS),
    ),
    line(
        9,
        "p99 of readers beside 100 clients that read nothing, by that without",
        "stalled",
        "p99 ratio",
        Need::Most(1.1),
    ),
    line(
        9,
        "of those 100, cut off",
        "stalled",
        "closed",
        Need::Least(100.0),
    ),
    line(
        9,
        "p99 of readers beside one that sends 1,000 messages/s, by that without",
        "flood",
        "p99 ratio",
        Need::Most(1.1),
    ),
];
