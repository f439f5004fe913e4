//! `check-config --connect`: a report of what the servers refuse, the same for both programs.

use std::process::ExitCode;

use crate::{
    config::Common,
    redis::{Program, examine},
};

/// The findings at each server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    lines: Vec<String>,
    well: bool,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            well: true,
        }
    }
}

impl Report {
    /// A report that begins with Redis: each command that `program` uses is tried.
    pub async fn of_redis(common: &Common, program: Program) -> Self {
        let mut report = Self::default();
        let problems = match examine(common, program).await {
            Ok(examined) => examined.refused,
            Err(error) => vec![error.to_string()],
        };
        report.note("redis", problems);
        report
    }

    /// Notes the problems at a server, of which there may be none.
    pub fn note(&mut self, server: &str, problems: Vec<String>) {
        self.well &= problems.is_empty();
        if problems.is_empty() {
            self.lines.push(format!("{server}: ok"));
        }
        // What a server's own words begin with is not said twice.
        let own = format!("{server}: ");
        let lines = problems.into_iter().map(|problem| {
            let problem = problem.strip_prefix(&own).unwrap_or(&problem);
            format!("{own}{problem}")
        });
        self.lines.extend(lines);
    }

    /// Prints a report; the exit code says if all is well.
    pub fn print(outcome: std::io::Result<Self>) -> ExitCode {
        use std::io::Write;
        let report = outcome.unwrap_or_else(|error| Self {
            lines: vec![format!("no runtime: {error}")],
            well: false,
        });
        let mut out = std::io::stdout().lock();
        for line in report.lines {
            // A closed pipe is not worth a different exit code.
            let _ = writeln!(out, "{line}");
        }
        if report.well {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_has_a_line_and_one_problem_is_enough() {
        let mut report = Report::default();
        report.note("redis", vec![]);
        assert!(report.well);
        let problems = ["HSET: NOPERM", "mongodb: no answer"].map(String::from);
        report.note("mongodb", problems.to_vec());
        assert!(!report.well);
        assert_eq!(
            report.lines,
            ["redis: ok", "mongodb: HSET: NOPERM", "mongodb: no answer"]
        );
    }
}
