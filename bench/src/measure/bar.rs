//! The bar: what the product has to reach, and whether it did, line by line.

use std::fmt::Write as _;

use super::{bed::Side, results::Results, table::number};

/// How a figure is held against the bar.
#[derive(Clone, Copy, Debug)]
enum Need {
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
struct Line {
    point: u8,
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    need: Need,
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

const BAR: &[Line] = &[
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
];

/// The table of the bar. A line whose scenarios were not run says so.
pub(crate) fn table(results: &Results) -> String {
    let mut table = String::from(
        "| | What | Product | Node, 2 processes | Product by Node | Bar | |\n|---|---|---|---|---|---|---|\n",
    );
    for line in BAR {
        let row = row(results, line);
        // Writing to a string can't fail.
        let _ = writeln!(table, "| {} | {} | {row} |", line.point, line.what);
    }
    table
}

fn row(results: &Results, line: &Line) -> String {
    let ours = |scenario| results.median(scenario, Side::Product, line.figure);
    let word = |kept| if kept { "kept" } else { "**missed**" };
    match line.need {
        Need::Most(_) | Need::Least(_) => {
            let bar = bar(line.need);
            match ours(line.scenario) {
                Some(value) => {
                    let kept = keeps(line.need, value);
                    format!("{} | | | {bar} | {}", number(value), word(kept))
                }
                None => format!("| | | {bar} | not measured"),
            }
        }
        Need::MostOf(_, scenario) | Need::LeastOf(_, scenario) => {
            let bar = bar(line.need);
            let theirs = results.median(scenario, Side::Node, line.figure);
            match (ours(line.scenario), theirs) {
                (Some(value), Some(theirs)) => {
                    let ratio = value / theirs;
                    let kept = keeps(line.need, ratio);
                    let (value, theirs) = (number(value), number(theirs));
                    format!(
                        "{value} | {theirs} | {} | {bar} | {}",
                        number(ratio),
                        word(kept)
                    )
                }
                (value, theirs) => {
                    let [value, theirs] =
                        [value, theirs].map(|one| one.map_or(String::new(), number));
                    format!("{value} | {theirs} | | {bar} | not measured")
                }
            }
        }
        Need::Flat(_, scenarios) => {
            let values: Vec<f64> = scenarios.iter().filter_map(|one| ours(one)).collect();
            let shown: Vec<String> = values.iter().map(|value| number(*value)).collect();
            let bar = bar(line.need);
            if values.len() < scenarios.len() {
                return format!("{} | | | {bar} | not measured", shown.join(", "));
            }
            let kept = word(keeps(line.need, spread(&values)));
            format!("{} | | | {bar} | {kept}", shown.join(", "))
        }
    }
}

/// By which part the highest is above the lowest.
fn spread(values: &[f64]) -> f64 {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    high / low - 1.0
}

fn keeps(need: Need, value: f64) -> bool {
    match need {
        Need::Most(bar) | Need::MostOf(bar, _) | Need::Flat(bar, _) => value <= bar,
        Need::Least(bar) | Need::LeastOf(bar, _) => value >= bar,
    }
}

fn bar(need: Need) -> String {
    match need {
        Need::Most(bar) | Need::MostOf(bar, _) => format!("at most {}", number(bar)),
        Need::Least(bar) | Need::LeastOf(bar, _) => format!("at least {}", number(bar)),
        Need::Flat(bar, _) => format!("within {} %", number(bar * 100.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::results::tests::results, *};

    fn verdict(table: &str, what: &str) -> String {
        let line = table.lines().find(|line| line.contains(what)).unwrap();
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        cells[cells.len() - 2].to_owned()
    }

    #[test]
    fn ratios_are_held_against_the_baseline() {
        let measured = |ours| {
            table(&results(&[
                ("closed", Side::Product, "delivered/s", ours),
                ("closed", Side::Node, "delivered/s", 100.0),
                ("closed", Side::NodeBest, "delivered/s", 1.0),
            ]))
        };
        assert_eq!(verdict(&measured(1_000.0), "deliveries a second"), "kept");
        assert_eq!(
            verdict(&measured(999.0), "deliveries a second"),
            "**missed**"
        );
    }

    #[test]
    fn what_was_not_run_is_neither_kept_nor_missed() {
        let table = table(&results(&[("open-5000", Side::Product, "p99", 2.0)]));
        assert!(
            table
                .lines()
                .skip(2)
                .all(|line| line.ends_with("| not measured |"))
        );
        assert_eq!(table.lines().count(), BAR.len() + 2);
    }

    #[test]
    fn flat_compares_the_highest_with_the_lowest() {
        let measured = |four| {
            table(&results(&[
                ("growth-gateways-1", Side::Product, "cpu", 1.1),
                ("growth-gateways-2", Side::Product, "cpu", 1.0),
                ("growth-gateways-4", Side::Product, "cpu", four),
            ]))
        };
        assert_eq!(verdict(&measured(1.19), "1, 2, 4 gateways"), "kept");
        assert_eq!(verdict(&measured(1.21), "1, 2, 4 gateways"), "**missed**");
    }
}
