//! Mends what a sweep found: entries go back into the stream, or are waited for no longer.

use std::collections::HashSet;

use bytes::Bytes;
use fred::{interfaces::HashesInterface, types::Value};
use ticket_shared::id::Id;

use super::{
    ENTRIES, Sweeper, Unswept, Waiting,
    decide::{self, Plan, Vanished},
};
use crate::script::Call;

/// What marks a ticket without a state whose log was put back into the stream: half a millisecond.
const ONCE: &str = ".5";

impl Sweeper {
    /// Puts back what vanished of a ticket and its log still has, and settles the rest.
    pub(super) async fn mend(
        &self,
        waiting: &Waiting,
        vanished: Vanished,
        parked: &HashSet<Bytes>,
    ) -> Result<(), Unswept> {
        let ticket = waiting.ticket;
        if vanished.numbering() {
            return self.renumber(waiting, &vanished).await;
        }
        let plan = vanished.plan(parked, ENTRIES);
        if plan == Plan::default() {
            return Ok(());
        }
        let known = self.store.numbers(ticket, &plan.absent).await?;
        let lost: Vec<u64> = plan
            .absent
            .iter()
            .copied()
            .filter(|seq| !known.contains(seq))
            .collect();
        let restored = plan.back.len();
        let persisted = vanished.persisted.to_string();
        if !self.put_back(waiting, &persisted, "", plan.back).await? {
            return Ok(());
        }
        let absent = plan.absent.iter().map(|seq| (*seq, *seq));
        let settled = plan.settled.into_iter().chain(absent);
        let settled = settled.map(|range| (ticket, Some(range)));
        self.watermark.raise(&self.redis, settled).await?;
        self.restored(ticket, restored);
        self.lost(ticket, lost.first().copied(), lost.len());
        Ok(())
    }

    /// The numbers of a former server's ticket have vanished. If nothing has happened to it since, it gets the same ones
    /// when somebody needs it.
    async fn renumber(&self, waiting: &Waiting, vanished: &Vanished) -> Result<(), Unswept> {
        if vanished.seq == vanished.adopted {
            self.drop_keys(waiting, &vanished.seq.to_string(), false)
                .await?;
        } else {
            tracing::warn!(ticket.id = %waiting.ticket, "numbering of a ticket waits for its next use");
            // Without this field the next use puts it together anew, with its numbering.
            let state = self.keys.state(waiting.ticket);
            let _: i64 = self.redis.hdel(state, "unkeyed").await?;
        }
        Ok(())
    }

    /// A ticket's state is gone. First its log is put back; when that has left the stream, nothing can be owed.
    pub(super) async fn bury(
        &self,
        waiting: &Waiting,
        frames: Vec<Bytes>,
        sent: Vec<(Id, u64)>,
        parked: &HashSet<Bytes>,
    ) -> Result<(), Unswept> {
        let ticket = waiting.ticket;
        let unlogged = frames.is_empty();
        let back = decide::unstored(frames, parked);
        // Something of it may be in the stream still: it is looked at again when all that is there now has left.
        if !waiting.since.ends_with(ONCE) {
            let restored = back.len();
            if self.put_back(waiting, "", ONCE, back).await? {
                self.restored(ticket, restored);
            }
            return Ok(());
        }
        let ids: Vec<Id> = sent.iter().map(|(id, _)| *id).collect();
        let known = self.store.messages(&ids).await?;
        // An operator decides on those; with their ticket gone their numbers stay theirs.
        let parked = decide::numbers_of(ticket, parked);
        let mut lost: Vec<u64> = sent
            .iter()
            .filter(|(id, seq)| !known.contains(id) && !parked.contains(seq))
            .map(|(_, seq)| *seq)
            .collect();
        lost.sort_unstable();
        let opened = parked.contains(&1) || self.store.has_ticket(ticket).await?;
        let count = lost.len() + usize::from(!opened);
        // With neither log nor ids nobody knows which numbers were given out.
        let unknown = sent.is_empty() && unlogged;
        if unknown {
            tracing::warn!(ticket.id = %ticket, "nothing is left in redis of a ticket that waited to be persisted");
        }
        if self.drop_keys(waiting, "", count > 0 || unknown).await? {
            self.lost(ticket, lost.first().copied(), count);
        }
        Ok(())
    }

    async fn put_back(
        &self,
        waiting: &Waiting,
        persisted: &str,
        mark: &str,
        back: Vec<Bytes>,
    ) -> Result<bool, Unswept> {
        let (keys, ticket) = (&self.keys, waiting.ticket);
        let partition = keys.partition(ticket);
        let mut args: Vec<Value> = vec![
            ticket.to_string().into(),
            persisted.into(),
            waiting.since.as_str().into(),
            mark.into(),
        ];
        args.extend(back.into_iter().map(Value::Bytes));
        let call = Call {
            keys: vec![
                keys.state(ticket),
                keys.events(partition),
                keys.dirty(partition),
            ],
            args,
        };
        Ok(self.ask(&self.restore, call).await?.as_i64() == Some(1))
    }

    /// Takes what is left of a ticket out of Redis; with a new epoch where numbers of it may be given again.
    async fn drop_keys(
        &self,
        waiting: &Waiting,
        seq: &str,
        new_epoch: bool,
    ) -> Result<bool, Unswept> {
        let (keys, ticket) = (&self.keys, waiting.ticket);
        let partition = keys.partition(ticket);
        let epoch = if new_epoch {
            Id::fresh()?.to_string()
        } else {
            String::new()
        };
        let call = Call {
            keys: vec![
                keys.state(ticket),
                keys.log(ticket),
                keys.ahead(ticket),
                keys.idem(ticket),
                keys.dirty(partition),
                keys.epoch(partition),
            ],
            args: vec![
                ticket.to_string().into(),
                seq.into(),
                waiting.since.as_str().into(),
                epoch.into(),
            ],
        };
        Ok(self.ask(&self.forget, call).await?.as_i64() == Some(1))
    }

    fn restored(&self, ticket: Id, entries: usize) {
        if entries > 0 {
            self.metrics.restored.inc_by(entries as u64);
            tracing::warn!(ticket.id = %ticket, entries, "entries that vanished from their stream put back from the log");
        }
    }

    fn lost(&self, ticket: Id, first: Option<u64>, entries: usize) {
        if entries > 0 {
            self.metrics.lost.inc_by(entries as u64);
            tracing::error!(ticket.id = %ticket, entries, entry.seq = first, "entries lost: neither redis nor mongodb has them");
        }
    }
}
