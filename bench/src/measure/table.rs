//! `RESULTS.md`: the bar, then every figure of every scenario and side.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    bar,
    results::{Results, Runs},
};

/// The whole file.
pub(crate) fn write(results: &Results, notes: &BTreeMap<String, String>) -> String {
    let mut text = String::from(
        "# Results\n\nWritten by `make bench`; README.md says what each scenario does and what is counted. Figures \
         are medians over the rounds; the sides took turns on the same machine, with the load's own processes on \
         the same cores.\n\n",
    );
    for (name, note) in notes {
        // Writing to a string can't fail.
        let _ = writeln!(text, "- {name}: {note}");
    }
    let _ = write!(text, "\n## The bar\n\n{}", bar::table(results));
    let mut last = "";
    for runs in &results.all {
        if runs.scenario != last {
            last = runs.scenario;
            let _ = write!(
                text,
                "\n## {last}\n\n| Side | Figure | Median | Lowest | Highest |\n|---|---|---|---|---|\n"
            );
        }
        text.push_str(&rows(runs));
    }
    text
}

fn rows(runs: &Runs) -> String {
    let mut rows = String::new();
    let side = runs.side.name();
    for run in &runs.found {
        if let Err(error) = run {
            let _ = writeln!(
                rows,
                "| {side} | failed: {} | | | |",
                error.replace('|', "/")
            );
        }
    }
    let mut good = runs.found.iter().filter_map(|run| run.as_ref().ok());
    let Some(figures) = good.next_back() else {
        return rows;
    };
    for name in figures.keys() {
        let middle = runs.median(name).map_or(String::new(), number);
        let range = runs.range(name);
        let [low, high] = range.map_or([String::new(), String::new()], |(low, high)| {
            [number(low), number(high)]
        });
        let _ = writeln!(rows, "| {side} | {name} | {middle} | {low} | {high} |");
    }
    rows
}

/// A figure with as many digits as it deserves.
pub(crate) fn number(value: f64) -> String {
    // A sum of nothing is minus 0.
    let (value, size) = (value + 0.0, value.abs());
    if size == 0.0 || size >= 1_000.0 {
        thousands(&format!("{value:.0}"))
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

fn thousands(digits: &str) -> String {
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        let left = digits.len() - place;
        if place > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::results::tests::results, *};
    use crate::measure::bed::Side;

    #[test]
    fn numbers_are_short() {
        let shown = [
            -0.0,
            0.01234,
            1.256,
            12.34,
            123.4,
            1_234.6,
            1_234_567.0,
            -1_000.0,
        ]
        .map(number);
        assert_eq!(
            shown,
            [
                "0",
                "0.012",
                "1.26",
                "12.3",
                "123",
                "1,235",
                "1,234,567",
                "-1,000"
            ]
        );
    }

    #[test]
    fn failures_stand_beside_figures() {
        let run = |value| ("closed", Side::Node, "cpu", value);
        let mut results = results(&[run(1.0), run(3.0)]);
        results.add("closed", Side::Node, Err(anyhow::anyhow!("a | b")));
        let text = write(&results, &BTreeMap::from([("Code".into(), "abc".into())]));
        assert!(text.contains("- Code: abc\n"));
        assert!(
            text.contains("| Node, 2 processes | cpu | 2.00 | 1.00 | 3.00 |\n"),
            "{text}"
        );
        assert!(text.contains("| Node, 2 processes | failed: a / b | | | |\n"));
        assert_eq!(text.matches("\n## closed\n").count(), 1);
    }
}
