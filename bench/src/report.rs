//! The rows of `FAULTS.md`: a row a fault, kept until the fault is run again.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use crate::{
    judge::{Fault, Verdict},
    stats::Stats,
};

/// How a fault went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// What was done.
    pub done: String,
    /// The sums.
    pub stats: Stats,
    /// Times and other figures of this fault.
    pub figures: Vec<String>,
    /// What the judge found.
    pub verdict: Verdict,
    /// What is lost by design at this durability level, and so does not fail the row.
    pub by_design: Vec<Fault>,
    /// What else went wrong.
    pub failures: Vec<String>,
    /// Why it was not run.
    pub skipped: Option<String>,
}

impl Row {
    /// Whether every promise was kept.
    pub(crate) fn good(&self) -> bool {
        let judged = self
            .verdict
            .faults()
            .all(|(fault, _)| self.by_design.contains(&fault));
        judged && self.failures.is_empty()
    }

    /// As a line of the table.
    pub(crate) fn line(&self, name: &str, what: &str, code: &str) -> String {
        if let Some(why) = &self.skipped {
            return format!(
                "| {name} | {what} | not run: {why} | | | | | | | | | | skipped | {code} |"
            );
        }
        let count = |fault| self.verdict.count(fault);
        let refused: Vec<String> = self
            .stats
            .refused
            .iter()
            .map(|(code, n)| format!("{code} {n}"))
            .collect();
        let word = if self.good() { "kept" } else { "**BROKEN**" };
        format!(
            "| {name} | {what} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {word}{} | {code} |",
            self.done,
            self.stats.acked,
            refused.join(", "),
            self.stats.reconnects,
            self.stats.resyncs,
            self.figures.join("; "),
            count(Fault::Lost),
            count(Fault::Doubled),
            count(Fault::Reordered),
            count(Fault::Unnoticed),
            self.others(),
        )
    }

    /// What has no column of its own.
    fn others(&self) -> String {
        let mut text = String::new();
        let columns = [
            Fault::Lost,
            Fault::Doubled,
            Fault::Reordered,
            Fault::Unnoticed,
        ];
        for (fault, count) in self
            .verdict
            .faults()
            .filter(|(fault, _)| !columns.contains(fault))
        {
            // Writing into a string can't fail.
            let _ = write!(text, "; {} {count}", fault.name());
        }
        for failure in &self.failures {
            let _ = write!(text, "; {failure}");
        }
        for fault in &self.by_design {
            if self.verdict.count(*fault) > 0 {
                let _ = write!(text, "; by design at `stream`: {}", fault.name());
            }
        }
        text.replace('|', "/")
    }
}

const HEAD: &str = "# Faults

Written by `make faults`; single rows by `make faults ONLY=\"F1 F5\"`. Each row is one run of real processes under load,
judged at its end: every acknowledgement, delivery and resume against MongoDB and the REST of both gateways.
*Lost*, *doubled*, *out of order* and *unnoticed gaps* must be 0. The last column is the code that was run; `+` marks
changes that were not committed.

| fault | | what was done | acked | refused, by code | reconnects | resyncs | figures | lost | doubled | out of order | unnoticed gaps | promises | code |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

/// Puts lines into the file, in place of those of the same faults; `order` is that of the rows.
///
/// # Errors
/// Where the file can't be written.
pub(crate) fn write(
    path: &Path,
    lines: &BTreeMap<String, String>,
    order: &[&str],
) -> std::io::Result<()> {
    let before = std::fs::read_to_string(path).unwrap_or_default();
    std::fs::write(path, merged(&before, lines, order))
}

fn merged(before: &str, lines: &BTreeMap<String, String>, order: &[&str]) -> String {
    let mut all: BTreeMap<&str, &str> = BTreeMap::new();
    for line in before.lines().chain(lines.values().map(String::as_str)) {
        let name = line.split('|').nth(1).map(str::trim).unwrap_or_default();
        if order.contains(&name) {
            all.insert(name, line);
        }
    }
    let rows = order.iter().filter_map(|name| all.get(name));
    rows.fold(HEAD.to_owned(), |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_replaces_that_of_the_same_fault() {
        let row = |done: &str| Row {
            done: done.into(),
            ..Row::default()
        };
        let lines =
            |name: &str, done| BTreeMap::from([(name.to_owned(), row(done).line(name, "x", "c"))]);
        let order = ["F1", "F2"];
        let first = merged("", &lines("F2", "old"), &order);
        let second = merged(&first, &lines("F1", "one"), &order);
        let third = merged(&second, &lines("F2", "new"), &order);
        let rows: Vec<&str> = third.strip_prefix(HEAD).unwrap().lines().collect();
        assert_eq!(rows.len(), 2);
        assert!(rows[0].contains("one") && rows[1].contains("new"));
    }

    #[test]
    fn what_is_wrong_fails_a_row() {
        let mut row = Row::default();
        assert!(row.good());
        row.failures.push("it did not come back".into());
        assert!(!row.good());
        assert!(row.line("F1", "x", "c").contains("BROKEN"));
    }
}
