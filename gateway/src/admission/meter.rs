//! What one connection may ask for.

use std::time::{Duration, Instant};

use super::{Admission, Client, bucket::Bucket, limited};
use crate::error::Error;

/// In which time refused events are counted as abuse.
const ABUSE_WINDOW: Duration = Duration::from_secs(10);

/// What one connection has asked for lately.
#[derive(Debug, Default)]
pub struct Meter {
    bucket: Bucket,
    refused: u32,
    since: Option<Instant>,
}

/// An event that is not accepted.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: Error,
    /// The connection has been told so often enough: it is to be closed.
    pub(crate) abuse: bool,
}

impl Meter {
    /// Counts an event of a connection from this address.
    pub(crate) fn event(
        &mut self,
        admission: &Admission,
        client: Option<Client>,
    ) -> Result<(), Refused> {
        let now = Instant::now();
        let own = admission
            .events
            .map_or(Ok(()), |rate| self.bucket.take(rate, now));
        let (scope, result) = match limited(own) {
            Ok(()) => (
                "address",
                client.map_or(Ok(()), |client| admission.address(client)),
            ),
            refused => ("connection", refused),
        };
        result.map_err(|error| {
            admission.metrics.rate_limited(scope);
            let abuse = self.refuse(now, admission.limits.abuse_limit);
            Refused { error, abuse }
        })
    }

    /// Whether that is one too many.
    fn refuse(&mut self, now: Instant, most: u32) -> bool {
        if self
            .since
            .is_none_or(|since| now.duration_since(since) > ABUSE_WINDOW)
        {
            (self.since, self.refused) = (Some(now), 0);
        }
        self.refused = self.refused.saturating_add(1);
        most > 0 && self.refused == most
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::admission, *};

    #[test]
    fn a_flood_is_refused_and_then_is_abuse() {
        let it = admission(&["--event-rate", "1", "--abuse-limit", "3"]);
        let mut meter = Meter::default();
        for _ in 0..4 {
            meter.event(&it, None).unwrap();
        }
        let abuse: Vec<bool> = (0..4)
            .map(|_| meter.event(&it, None).unwrap_err().abuse)
            .collect();
        assert_eq!(abuse, [false, false, true, false], "told once");
    }
}
