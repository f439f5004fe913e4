//! Removes the consumers of workers that are gone, which otherwise gather in the group with every new host
//! name. What such a worker left unfinished is taken over first: a consumer with anything pending stays.

use std::time::Duration;

use fred::{clients::Client, error::Error, types::Value};
use ticket_shared::stream::{GROUP, Keys};
use tokio::time::Instant;

use crate::{
    metrics::Metrics,
    script::{Call, Script},
};

/// The longest pause between two looks.
const INTERVAL: Duration = Duration::from_mins(1);

/// Removes consumers.
#[derive(Debug)]
pub(crate) struct Consumers {
    script: Script,
    keys: Keys,
    own: String,
    gone: Duration,
    metrics: Metrics,
    due: Instant,
}

impl Consumers {
    /// Those but `own` that have been silent for longer than `gone` are to be removed.
    pub(crate) fn new(keys: Keys, own: &str, gone: Duration, metrics: Metrics) -> Self {
        Self {
            script: Script::new(include_str!("consumers.lua")),
            keys,
            own: own.to_owned(),
            gone,
            metrics,
            due: Instant::now(),
        }
    }

    /// Whether it is time for a look at all partitions; if so, the next one is due after a pause.
    pub(crate) fn due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.due <= now;
        if due {
            self.due = now + (self.gone / 4).min(INTERVAL);
        }
        due
    }

    /// Looks at one partition.
    ///
    /// # Errors
    /// Where Redis can't be asked, or does not have the stream and its group.
    pub(crate) async fn remove(&self, redis: &Client, partition: u16) -> Result<(), Error> {
        let gone = i64::try_from(self.gone.as_millis()).unwrap_or(i64::MAX);
        let call = Call {
            keys: vec![self.keys.events(partition)],
            args: vec![GROUP.into(), self.own.as_str().into(), gone.into()],
        };
        for answer in self.script.run(redis, &[call]).await {
            let Value::Array(names) = answer? else {
                continue;
            };
            self.metrics.consumers_removed.inc_by(names.len() as u64);
            for name in names.iter().filter_map(Value::as_string) {
                tracing::info!(
                    partition,
                    consumer = name,
                    "consumer of a gone worker removed"
                );
            }
        }
        Ok(())
    }
}
