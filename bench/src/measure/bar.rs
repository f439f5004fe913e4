//! The bar: what the product has to reach, and whether it did, line by line.

use std::fmt::Write as _;

mod lines;

use lines::{BAR, Line, Need};

use super::{bed::Side, results::Results, table::number};

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
