//! The parts of tickets that never change, for batches in which a ticket's creation is not.
//!
//! A creation may be lost, or be on its way by another worker; its ticket is then stored with its first entry all the
//! same, and must not be without owner and time. Redis is asked once for each ticket; then it is known to be stored.

use std::collections::{HashMap, HashSet};

use fred::{error::Error, interfaces::HashesInterface, types::Value};
use ticket_shared::{
    id::Id,
    stream::{Base, Change},
};

use super::{Settler, Stopping, Work};
use crate::backoff::Backoff;

/// How many tickets are known at most.
const KNOWN: usize = 65_536;

/// Tickets of which MongoDB has what never changes.
#[derive(Debug, Default)]
pub(crate) struct Known(HashSet<Id>);

impl Known {
    fn note(&mut self, tickets: impl IntoIterator<Item = Id>) {
        if self.0.len() > KNOWN {
            self.0.clear();
        }
        self.0.extend(tickets);
    }
}

impl Settler {
    /// What never changes of the tickets in `batch` of which MongoDB may not have that yet, as far as it can be had.
    pub(super) async fn bases(&self, batch: &[Work]) -> Result<HashMap<Id, Base>, Stopping> {
        let mut bases = HashMap::new();
        let mut asked: Vec<Id> = Vec::new();
        {
            let known = self.known();
            let mut seen = HashSet::new();
            for Work { entry, .. } in batch {
                if matches!(entry.change, Change::Created { .. }) {
                    bases.remove(&entry.ticket_id);
                    seen.insert(entry.ticket_id);
                } else if !known.0.contains(&entry.ticket_id) {
                    if let (Some(base), false) = (&entry.base, seen.contains(&entry.ticket_id)) {
                        bases.insert(entry.ticket_id, base.clone());
                    }
                    asked.push(entry.ticket_id);
                }
            }
            asked.retain(|ticket| !bases.contains_key(ticket) && seen.insert(*ticket));
        }
        if asked.is_empty() {
            return Ok(bases);
        }
        let mut backoff = Backoff::default();
        let states = loop {
            match self.states(&asked).await {
                Ok(states) => break states,
                Err(error) => self.failed("base", &error, &mut backoff).await?,
            }
        };
        let mut stored = Vec::new();
        for (ticket, state) in asked.into_iter().zip(states) {
            let Value::Array(fields) = state else {
                continue;
            };
            let number = |at: usize| fields.get(at).and_then(Value::as_u64).unwrap_or(0);
            // A ticket of the former server was stored long before.
            if number(0) > 0 || number(1) > 0 {
                stored.push(ticket);
            } else if let Some(base) = fields.get(2).and_then(Value::as_bytes)
                && let Ok(base) = serde_json::from_slice(base)
            {
                bases.insert(ticket, base);
            }
        }
        self.known().note(stored);
        Ok(bases)
    }

    /// Notes that MongoDB has what never changes of these tickets.
    pub(super) fn note_stored(&self, stored: &[Work], bases: &HashMap<Id, Base>) {
        let opened = stored.iter().map(|work| &work.entry).filter(|entry| {
            matches!(entry.change, Change::Created { .. }) || bases.contains_key(&entry.ticket_id)
        });
        self.known().note(opened.map(|entry| entry.ticket_id));
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn states(&self, tickets: &[Id]) -> Result<Vec<Value>, Error> {
        let pipeline = self.redis.pipeline();
        for ticket in tickets {
            let fields = vec!["persisted", "adopted", "base"];
            let _: () = pipeline.hmget(self.keys.state(*ticket), fields).await?;
        }
        let answers = pipeline.try_all::<Value>().await;
        let answers = answers.into_iter().map(|answer| match answer {
            // No state of ours.
            Err(error)
                if ticket_shared::redis::failure(&error)
                    == ticket_shared::redis::Failure::Defect =>
            {
                Ok(Value::Null)
            }
            answer => answer,
        });
        answers.collect()
    }
}
