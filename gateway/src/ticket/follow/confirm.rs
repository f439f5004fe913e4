//! The gateway's entry in the registry of each partition: registration, heartbeats, and, after a change of Redis server,
//! the comparison of what this gateway has seen with what the server came back with.

use std::{sync::atomic::Ordering, time::Duration};

use fred::interfaces::EventInterface;
use futures::future::join_all;
use ticket_shared::lifecycle::Lifecycle;
use tokio::{sync::oneshot, time::timeout};

use super::{Command, Follower};
use crate::{
    error::Error,
    ticket::{Tickets, settle::Settlement},
};

/// Interval of the calls to each partition.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time that a comparison may take; then it begins anew.
const DEADLINE: Duration = Duration::from_secs(3);

impl Follower {
    /// Keeps this gateway registered until the process stops.
    pub(super) async fn stay_registered(self, life: Lifecycle) {
        let mut reconnects = self.tickets().redis().reconnect_rx();
        let partitions = usize::from(self.tickets().keys().partitions());
        // The last answer of each partition; none before this gateway has seen anything of it.
        let mut known: Vec<Option<Settlement>> = vec![None; partitions];
        loop {
            let calls = (0..).zip(&mut known);
            let calls = calls.map(|(partition, known)| self.confirm(partition, known));
            let mut confirmed = true;
            for done in join_all(calls).await {
                confirmed &= matches!(done, Ok(true));
                if let Err(error) = done {
                    tracing::debug!(error = %error, "gateway not registered in a partition");
                }
            }
            self.0.confirmed.store(confirmed, Ordering::Release);
            tokio::select! {
                () = life.stopping().cancelled() => return,
                // After the end of the client, or too many at once, the interval is what counts.
                Ok(_) = reconnects.recv() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// Takes this gateway out of the registry, when nothing is acknowledged by it any more.
    pub async fn unregister(&self) {
        self.tickets().unregister(self.0.gateway).await;
    }

    /// Registers in a partition. If its server is another one than `known`, compares first. Returns whether the registry
    /// has this gateway's answer for the server.
    async fn confirm(&self, partition: u16, known: &mut Option<Settlement>) -> Result<bool, Error> {
        let compared = known.as_ref().map_or("", |known| known.server.as_str());
        let met = self.settle(partition, compared).await?;
        let Some(before) = known.as_ref().filter(|known| known.server != met.server) else {
            if known.as_ref().is_some_and(|known| known.epoch != met.epoch) {
                self.tickets().forget_acknowledged(partition);
            }
            *known = Some(met);
            return Ok(true);
        };
        let comparing = self.compare(partition, &before.epoch, &met.epoch);
        if !matches!(timeout(DEADLINE, comparing).await, Ok(Ok(true))) {
            return Ok(false);
        }
        self.tickets().forget_acknowledged(partition);
        let now = self.settle(partition, &met.server).await?;
        // Another server again: what was compared is that of the one before.
        let same = now.server == met.server;
        *known = Some(Settlement {
            server: met.server,
            ..now
        });
        Ok(same)
    }

    async fn settle(&self, partition: u16, compared: &str) -> Result<Settlement, Error> {
        let gateway = (self.0.gateway, compared);
        self.tickets().settle(partition, Some(gateway)).await
    }

    /// Compares everything that this gateway has seen of a partition, and ends the epoch where entries were lost. Returns
    /// whether everything was compared.
    async fn compare(&self, partition: u16, before: &str, epoch: &str) -> Result<bool, Error> {
        let keys = self.tickets().keys();
        let rooms: Vec<_> = self
            .rooms()
            .iter()
            .filter(|(ticket, _)| keys.partition(**ticket) == partition)
            .map(|(_, handle)| handle.queue.clone())
            .collect();
        let mut answers = Vec::with_capacity(rooms.len());
        for room in rooms {
            let (done, compared) = oneshot::channel();
            // A task that has ended follows nothing.
            if room.send_beyond(Command::Compare(done)).is_ok() {
                answers.push(compared);
            }
        }
        let answers = join_all(answers).await;
        if answers.iter().any(|compared| !matches!(compared, Ok(true))) {
            return Ok(false);
        }
        if before == epoch {
            let tickets = self.tickets();
            tickets.compare_acknowledged(partition, epoch).await?;
        }
        Ok(true)
    }

    /// Returns `true` if this gateway may forget what it has seen: the registry has its answers.
    pub(super) fn confirmed(&self) -> bool {
        self.0.confirmed.load(Ordering::Acquire)
    }

    fn tickets(&self) -> &Tickets {
        &self.0.shared.tickets
    }
}
