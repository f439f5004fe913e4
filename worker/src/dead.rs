//! Entries that can't be persisted, however often one tries: they are parked where an operator finds them,
//! with the reason, instead of holding up their neighbours or being dropped.
//!
//! Here is the parking, which workers do; what operators do with what is parked stands in the modules below.

use std::fmt;

use fred::{clients::Client, error::Error, types::Value};
use ticket_shared::stream::{DecodeError, GROUP, Keys};

use crate::{
    delivery::Delivered,
    metrics::{Metrics, ReasonLabel},
    script::{Call, Script},
    store::Refusal,
};

mod command;
mod desk;
mod drop;
mod entry;
mod list;
mod replay;
mod show;

pub use command::DeadCommand;
pub(crate) use command::perform;
pub use desk::DeadError;
pub use drop::Drop;
pub use entry::{EntryId, NoEntryId};
pub use list::List;
pub use replay::Replay;
pub use show::Show;

/// Why an entry is parked. The text is for operators and never quotes the entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// It is no entry.
    Malformed(String),
    /// A later version of the product wrote it.
    Newer(u8),
    /// MongoDB does not take its documents.
    Refused(Refusal),
}

impl Reason {
    fn label(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Newer(_) => "newer",
            Self::Refused(_) => "refused",
        }
    }
}

impl From<DecodeError> for Reason {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Version(version) => Self::Newer(version),
            DecodeError::Malformed(how) => Self::Malformed(how),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(how) => write!(f, "malformed: {how}"),
            Self::Newer(version) => write!(f, "newer: entry format {version}"),
            Self::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

/// Parks entries.
#[derive(Debug)]
pub(crate) struct Dead {
    script: Script,
    keys: Keys,
    metrics: Metrics,
}

impl Dead {
    pub(crate) fn new(keys: Keys, metrics: Metrics) -> Self {
        Self {
            script: Script::new(include_str!("dead.lua")),
            keys,
            metrics,
        }
    }

    /// Parks `entries`, which have been tried `tries` times. They count as acknowledged afterwards.
    ///
    /// # Errors
    /// Where Redis can't be asked. Doing it again parks none twice.
    pub(crate) async fn park(
        &self,
        redis: &Client,
        entries: &[(&Delivered, Reason)],
        tries: u32,
    ) -> Result<(), Error> {
        let calls: Vec<Call> = entries
            .iter()
            .map(|(entry, reason)| self.call(entry, reason, tries))
            .collect();
        let answers = self.script.run(redis, &calls).await;
        for ((entry, reason), answer) in entries.iter().zip(answers) {
            if answer?.as_i64() == Some(1) {
                let reason_label = ReasonLabel {
                    reason: reason.label(),
                };
                self.metrics.parked.get_or_create(&reason_label).inc();
                tracing::error!(
                    entry.id = %entry.id,
                    partition = entry.partition,
                    reason = %reason,
                    tries,
                    "entry parked"
                );
            }
        }
        Ok(())
    }

    fn call(&self, entry: &Delivered, reason: &Reason, tries: u32) -> Call {
        let mut args: Vec<Value> = vec![
            GROUP.into(),
            entry.id.clone().into(),
            reason.to_string().into(),
            i64::from(tries).into(),
        ];
        for (field, value) in &entry.fields {
            args.extend([Value::Bytes(field.clone()), Value::Bytes(value.clone())]);
        }
        Call {
            keys: vec![
                self.keys.events(entry.partition),
                self.keys.dead(entry.partition),
            ],
            args,
        }
    }
}
