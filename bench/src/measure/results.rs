//! What the runs found, and the medians of it.

use super::{bed::Side, open::Figures};

/// The runs of one scenario on one side.
#[derive(Debug)]
pub(crate) struct Runs {
    /// The scenario.
    pub scenario: &'static str,
    /// The side.
    pub side: Side,
    /// What each found, or why it could not be run to its end.
    pub found: Vec<Result<Figures, String>>,
}

/// All of them, in the order in which they came.
#[derive(Default, Debug)]
pub(crate) struct Results {
    /// By scenario and side.
    pub all: Vec<Runs>,
}

impl Results {
    /// Adds a run.
    pub(crate) fn add(
        &mut self,
        scenario: &'static str,
        side: Side,
        outcome: anyhow::Result<Figures>,
    ) {
        let outcome = outcome.map_err(|error| format!("{error:#}"));
        let known = self
            .all
            .iter_mut()
            .find(|runs| (runs.scenario, runs.side) == (scenario, side));
        match known {
            Some(runs) => runs.found.push(outcome),
            None => self.all.push(Runs {
                scenario,
                side,
                found: vec![outcome],
            }),
        }
    }

    /// The median of a figure over the runs that got to their end; none where no run has it.
    pub(crate) fn median(&self, scenario: &str, side: Side, figure: &str) -> Option<f64> {
        let runs = self
            .all
            .iter()
            .find(|runs| (runs.scenario, runs.side) == (scenario, side))?;
        runs.median(figure)
    }
}

impl Runs {
    /// The same, of these runs.
    pub(crate) fn median(&self, figure: &str) -> Option<f64> {
        let good = self.found.iter().filter_map(|run| run.as_ref().ok());
        let mut values: Vec<f64> = good.filter_map(|run| run.get(figure).copied()).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(values[middle]),
            _ => Some(f64::midpoint(values[middle - 1], values[middle])),
        }
    }

    /// The lowest and the highest.
    pub(crate) fn range(&self, figure: &str) -> Option<(f64, f64)> {
        let good = self.found.iter().filter_map(|run| run.as_ref().ok());
        let values = good.filter_map(|run| run.get(figure).copied());
        values.fold(None, |range, value| {
            let (low, high) = range.unwrap_or((value, value));
            Some((value.min(low), value.max(high)))
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Results with one figure in each run.
    pub(crate) fn results(runs: &[(&'static str, Side, &'static str, f64)]) -> Results {
        let mut results = Results::default();
        for (scenario, side, figure, value) in runs {
            results.add(scenario, *side, Ok(Figures::from([(*figure, *value)])));
        }
        results
    }

    #[test]
    fn medians_are_of_the_runs_that_ended_well() {
        let run = |value| ("closed", Side::Node, "cpu", value);
        let mut results = results(&[run(9.0), run(1.0), run(2.0)]);
        assert_eq!(results.median("closed", Side::Node, "cpu"), Some(2.0));
        results.add("closed", Side::Node, Err(anyhow::anyhow!("lost")));
        assert_eq!(results.median("closed", Side::Node, "cpu"), Some(2.0));
        results.add("closed", Side::Node, Ok(Figures::from([("cpu", 4.0)])));
        assert_eq!(results.median("closed", Side::Node, "cpu"), Some(3.0));
        assert_eq!(results.all[0].range("cpu"), Some((1.0, 9.0)));
        assert_eq!(results.median("closed", Side::Product, "cpu"), None);
        assert_eq!(results.median("closed", Side::Node, "p99"), None);
    }
}
