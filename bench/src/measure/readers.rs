//! Readers under a steady load, without and with somebody else on the same gateways: what that does to them.

use std::{sync::atomic::Ordering, time::Duration};

use super::{
    bed::{Bed, Context},
    crowd::Crowd,
    latency::Latency,
    message::Clock,
    open::{Figures, Open, real, send},
};

/// For how long nothing may arrive before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// The tickets of the readers.
pub(crate) const TICKETS: usize = 100;
/// The load: a thousand readers, and little enough to write that neither side is busy.
const LOAD: Open = Open {
    gateways: 2,
    tickets: TICKETS,
    people: 10,
    writers: 2,
    rate: 500,
    seconds: 0,
};

/// How many phases there are without others, and with them: enough that one which the machine disturbed, or two, do
/// not decide.
pub(crate) fn pairs(context: &Context) -> usize {
    context.pick(5, 1)
}

/// The readers, in the tickets of a bed.
pub(crate) struct Readers<'a> {
    bed: &'a Bed,
    clock: Clock,
    crowd: Crowd,
    load: Open,
    /// The last number of each writer.
    numbers: Vec<u64>,
    /// How many messages were written.
    written: u64,
}

impl<'a> Readers<'a> {
    /// Lets them in and warms everything up.
    ///
    /// # Errors
    /// Where one is not let in.
    pub(crate) async fn gather(context: &Context, bed: &'a Bed) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let load = Open {
            seconds: context.pick(3, 2),
            ..LOAD
        };
        let wires = bed.join(load.people).await?;
        let mut readers = Self {
            bed,
            clock,
            crowd: Crowd::gather(&context.life, clock, wires, load.people),
            load,
            numbers: vec![0; load.tickets * load.writers],
            written: 0,
        };
        bed.settled().await?;
        readers.phase().await?;
        Ok(readers)
    }

    /// Writes for a second and for the length of a phase, and returns the times of what was due in the phase.
    ///
    /// # Errors
    /// Where a message can't be sent.
    pub(crate) async fn phase(&mut self) -> anyhow::Result<Latency> {
        let load = self.load;
        // The first second is for what the change of phases leaves behind.
        self.crowd.tally.time_from(self.clock.now() + 1_000_000);
        let count = load.rate * (load.seconds + 1);
        send(
            self.clock,
            self.bed,
            &self.crowd,
            load,
            count,
            &mut self.numbers,
        )
        .await?;
        self.written += count;
        self.crowd.heard(self.expected(), PATIENCE).await;
        let [deliveries, _] = self.crowd.tally.take_times();
        Ok(deliveries)
    }

    fn expected(&self) -> u64 {
        self.written * self.load.people as u64
    }

    /// Ends them; says how many deliveries are missing.
    pub(crate) async fn leave(self) -> u64 {
        let expected = self.expected();
        let tally = self.crowd.leave().await;
        expected.saturating_sub(tally.delivered.load(Ordering::Relaxed))
    }
}

/// Phases without, and phases with.
#[derive(Default)]
pub(crate) struct Phases {
    /// Nobody else is there.
    pub without: Vec<Latency>,
    /// Somebody is.
    pub with: Vec<Latency>,
}

impl Phases {
    /// The figures: medians over the phases, and of how much longer it takes in a phase with the others than in the
    /// one before it without them. Neighbours are compared because machines get slower and faster meanwhile.
    pub(crate) fn figures(&self, missing: u64) -> Figures {
        let part = |phases: &[Latency], part| {
            median(phases.iter().map(|one| one.quantile(part) * 1_000.0))
        };
        let (without, with) = (&self.without, &self.with);
        let ratio = |part| {
            let pairs = without.iter().zip(with);
            median(pairs.map(|(without, with)| with.quantile(part) / without.quantile(part)))
        };
        Figures::from([
            ("p50 without, µs", part(without, 0.5)),
            ("p99 without, µs", part(without, 0.99)),
            ("p99.9 without, µs", part(without, 0.999)),
            ("p50 with, µs", part(with, 0.5)),
            ("p99 with, µs", part(with, 0.99)),
            ("p99.9 with, µs", part(with, 0.999)),
            ("p50 ratio", ratio(0.5)),
            ("p99 ratio", ratio(0.99)),
            ("missing", real(missing)),
        ])
    }
}

/// The middle of some figures: a phase that something else disturbed does not decide. 0 of none.
fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let low = figures.len().saturating_sub(1) / 2;
    let high = figures.len() / 2;
    match (figures.get(low), figures.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(ms: u64) -> Latency {
        let mut latency = Latency::new();
        (0..100).for_each(|_| latency.record(0, ms * 1_000));
        latency
    }

    #[test]
    fn the_ratio_is_the_median_of_those_of_neighbours() {
        // The machine is half as fast in the second pair, and something disturbs a phase of the third.
        let phases = Phases {
            without: vec![all(2), all(4), all(90)],
            with: vec![all(3), all(6), all(4)],
        };
        let figures = phases.figures(7);
        let near = |name: &str, value: f64| (figures[name] / value - 1.0).abs() < 0.002;
        assert!(near("p99 without, µs", 4_000.0) && near("p99 with, µs", 4_000.0));
        assert!(near("p99 ratio", 1.5) && near("missing", 7.0));
    }

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        assert!((median([3.0, 1.0, 9.0, 2.0].into_iter()) - 2.5).abs() < 1e-9);
        assert!(median(std::iter::empty()).abs() < 1e-9);
    }
}
