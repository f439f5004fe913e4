//! How far each ticket's log is in MongoDB.
//!
//! The gateway reads above the watermark from Redis and below it from MongoDB, and Redis forgets only what is
//! below. So it must never be too high; too low it may be for as long as entries are unacknowledged, because
//! their replay raises it.

use std::{collections::BTreeMap, time::Duration};

use fred::{clients::Client, error::Error, types::Value};
use ticket_shared::{
    id::Id,
    redis::{Failure, failure},
    stream::Keys,
};

use crate::script::{Call, Script};

/// Raises watermarks.
#[derive(Debug)]
pub(crate) struct Watermark {
    script: Script,
    keys: Keys,
    /// How long a ticket at rest stays in Redis; zero: until a gateway evicts it.
    hot_for: Duration,
}

impl Watermark {
    pub(crate) fn new(keys: Keys, hot_for: Duration) -> Self {
        Self {
            script: Script::new(include_str!("watermark.lua")),
            keys,
            hot_for,
        }
    }

    /// Notes what is settled, in MongoDB or parked: tickets, and from which number to which. Of a ticket without such
    /// numbers it is noted whether all of it is persisted.
    ///
    /// # Errors
    /// Where Redis can't be asked. Doing it again is harmless.
    pub(crate) async fn raise(
        &self,
        redis: &Client,
        settled: impl IntoIterator<Item = (Id, Option<(u64, u64)>)>,
    ) -> Result<(), Error> {
        let mut covered: BTreeMap<Id, Vec<(u64, u64)>> = BTreeMap::new();
        for (ticket, range) in settled {
            covered.entry(ticket).or_default().extend(range);
        }
        let (tickets, calls): (Vec<Id>, Vec<Call>) = covered
            .into_iter()
            .map(|(ticket, ranges)| (ticket, self.call(ticket, ranges)))
            .unzip();
        let answers = self.script.run(redis, &calls).await;
        for (ticket, answer) in tickets.into_iter().zip(answers) {
            match answer {
                Ok(_) => {}
                // One ticket's keys are not what they should be. Its entries are in MongoDB; it merely stays
                // in Redis, which must not stop all the others.
                Err(error) if failure(&error) == Failure::Defect => {
                    tracing::error!(ticket.id = %ticket, error = %error, "watermark refused by Redis");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn call(&self, ticket: Id, mut ranges: Vec<(u64, u64)>) -> Call {
        ranges.sort_unstable();
        let partition = self.keys.partition(ticket);
        let hot_for = self.hot_for.as_millis().to_string();
        let mut args = vec![Value::from(ticket.to_string()), hot_for.into()];
        for (lo, hi) in joined(&ranges) {
            args.extend([lo.to_string().into(), hi.to_string().into()]);
        }
        Call {
            keys: vec![
                self.keys.state(ticket),
                self.keys.ahead(ticket),
                self.keys.log(ticket),
                self.keys.idem(ticket),
                self.keys.dirty(partition),
                self.keys.rest(partition),
            ],
            args,
        }
    }
}

/// Joins ranges that follow or overlap each other.
fn joined(sorted: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for &(lo, hi) in sorted {
        match joined.last_mut() {
            Some(last) if lo <= last.1.saturating_add(1) => last.1 = last.1.max(hi),
            _ => joined.push((lo, hi)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_without_a_gap_become_one() {
        assert_eq!(
            joined(&[(1, 1), (2, 2), (2, 5), (4, 4), (7, 7), (8, 9)]),
            [(1, 5), (7, 9)]
        );
        assert_eq!(joined(&[]), []);
    }
}
