//! Claims: leases in Redis on tickets that an adoption is about to number.
//!
//! What must hold: while a claim stands, no gateway puts the ticket into Redis; and one that began to load it before puts
//! nothing there afterwards, because the claim leaves a mark behind. So messages are numbered either by a gateway or by the
//! adoption, from one set of documents, never by both from two.
//!
//! A claim ends by itself soon after its process dies. One that lost its claims, stopped for too long, writes no more.

use std::{sync::Arc, time::Duration};

use fred::{clients::Client, error::Error, types::Value};
use ticket_shared::{
    id::Id,
    stream::{HELD, Keys},
};
use tokio::time::{Instant, sleep};

use super::AdoptError;
use crate::script::{Call, Script};

/// Time after which a claim ends whose process does not extend it any more.
const LEASE: Duration = Duration::from_secs(20);
/// Interval at which it is extended.
const EXTEND: Duration = Duration::from_secs(4);
/// Lifetime of the mark of a claim that was given back: longer than any gateway takes to load a ticket.
const DONE: Duration = Duration::from_mins(5);
/// Pause before another look at tickets that another adoption holds.
const AGAIN: Duration = Duration::from_millis(500);

/// Takes claims.
#[derive(Clone)]
pub(super) struct Claims {
    redis: Client,
    keys: Keys,
    script: Arc<Script>,
}

/// Tickets that are held, under one token. In a dry run they are only looked at.
pub(super) struct Claim {
    token: String,
    dry: bool,
    pub(super) tickets: Vec<Id>,
}

/// The result of an attempt to claim tickets.
pub(super) struct Claimed {
    pub(super) claim: Claim,
    /// Tickets that Redis has something of: they are in use, and the product numbers them.
    pub(super) in_use: usize,
    /// Tickets that another adoption holds.
    pub(super) elsewhere: usize,
}

impl Claims {
    pub(super) fn new(redis: Client, keys: Keys) -> Self {
        Self {
            redis,
            keys,
            script: Arc::new(Script::new(include_str!("claim.lua"))),
        }
    }

    /// Claims those of `tickets` that Redis has nothing of. Waits for those of an adoption that died, whose claims end.
    ///
    /// # Errors
    /// If Redis can't be asked.
    pub(super) async fn take(&self, tickets: &[Id], dry: bool) -> Result<Claimed, AdoptError> {
        let token = Id::fresh()
            .map_err(|error| Error::new(fred::error::ErrorKind::Unknown, error.to_string()))?;
        let mut claim = Claim {
            token: token.to_string(),
            dry,
            tickets: Vec::new(),
        };
        let (mut todo, mut in_use) = (tickets.to_vec(), 0);
        let end = Instant::now() + LEASE + EXTEND;
        while !todo.is_empty() {
            let what = if dry { "look" } else { "take" };
            let answers = self.call(what, &claim.token, &todo, LEASE).await?;
            let mut held = Vec::new();
            for (ticket, answer) in todo.iter().zip(answers) {
                match answer {
                    1 => claim.tickets.push(*ticket),
                    0 => in_use += 1,
                    _ => held.push(*ticket),
                }
            }
            todo = held;
            if todo.is_empty() || dry || Instant::now() >= end {
                break;
            }
            sleep(AGAIN).await;
            // What it has by now must not end meanwhile.
            self.extend(&claim).await?;
        }
        Ok(Claimed {
            claim,
            in_use,
            elsewhere: todo.len(),
        })
    }

    /// Performs `work`, which writes, and extends the claim for as long as that takes.
    ///
    /// # Errors
    /// Those of `work`; [`AdoptError::Lost`] if the claim has ended: `work` goes no further then.
    pub(super) async fn holding<T>(
        &self,
        claim: &Claim,
        work: impl Future<Output = Result<T, AdoptError>>,
    ) -> Result<T, AdoptError> {
        tokio::pin!(work);
        let mut extend = tokio::time::interval(EXTEND);
        extend.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // First: a process that was stopped looks before it writes.
                biased;
                _ = extend.tick() => self.extend(claim).await?,
                done = &mut work => return done,
            }
        }
    }

    /// Gives the tickets back.
    ///
    /// # Errors
    /// [`AdoptError::Lost`] if the claim had ended before.
    pub(super) async fn give(&self, claim: &Claim) -> Result<(), AdoptError> {
        if claim.dry {
            return Ok(());
        }
        let answers = self
            .call("give", &claim.token, &claim.tickets, DONE)
            .await?;
        all_stood(&answers)
    }

    async fn extend(&self, claim: &Claim) -> Result<(), AdoptError> {
        if claim.dry {
            return Ok(());
        }
        let answers = self
            .call("extend", &claim.token, &claim.tickets, LEASE)
            .await?;
        all_stood(&answers)
    }

    async fn call(
        &self,
        what: &str,
        token: &str,
        tickets: &[Id],
        stays: Duration,
    ) -> Result<Vec<i64>, Error> {
        let calls: Vec<Call> = tickets
            .iter()
            .map(|ticket| Call {
                keys: vec![
                    self.keys.takeover(*ticket),
                    self.keys.state(*ticket),
                    self.keys.log(*ticket),
                    self.keys.dirty(self.keys.partition(*ticket)),
                ],
                args: [
                    what.to_owned(),
                    ticket.to_string(),
                    format!("{HELD}{token}"),
                    stays.as_millis().to_string(),
                    format!("done:{token}"),
                ]
                .map(Value::from)
                .to_vec(),
            })
            .collect();
        let answers = self.script.run(&self.redis, &calls).await;
        answers
            .into_iter()
            .map(|answer| Ok(answer?.as_i64().unwrap_or(0)))
            .collect()
    }
}

fn all_stood(answers: &[i64]) -> Result<(), AdoptError> {
    if answers.iter().all(|answer| *answer == 1) {
        Ok(())
    } else {
        Err(AdoptError::Lost)
    }
}
