//! Trust in a partition's numbers after a change of Redis server: they continue once each registered gateway has compared
//! what it has seen, and an epoch begins if one does not answer.
//!
//! A server that comes back with its files may have lost the end of them. Entries that were lost are missed by MongoDB,
//! or by a gateway that has seen them; a gateway that died with Redis can't be asked.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fred::interfaces::{ClientLike, HashesInterface};
use ticket_shared::{
    id::Id,
    redis::{COMMAND_TIMEOUT, hot_path},
};
use tokio::time::timeout;

use super::{Tickets, view::Part, warm::fresh_epoch};
use crate::{error::Error, script::Items};

/// Time within which registered gateways have to answer, from the first contact with a server. They find their connections
/// again within a second.
const PATIENCE: Duration = Duration::from_secs(5);
/// Interval of the heartbeats that the registry stores.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Silence after which a gateway is removed from the registry. What it has seen is on Redis' disk by then, which is written
/// every second.
const GONE: Duration = Duration::from_secs(8);
/// Interval at which an append asks whether numbers continue.
const POLL: Duration = Duration::from_millis(25);

/// The state of one partition, as its server reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settlement {
    /// The server.
    pub(super) server: String,
    /// `true` if numbers continue.
    pub(super) settled: bool,
    /// The epoch.
    pub(super) epoch: String,
}

/// The newest append of a partition that was acknowledged to this gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Acknowledged {
    at: i64,
    ticket: Id,
    seq: u64,
}

/// The state of each partition that [`Tickets`] keeps for its settlement.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// Held by the one append that polls.
    polling: tokio::sync::Mutex<()>,
    newest: Mutex<Option<Acknowledged>>,
}

impl Tickets {
    /// Asks whether a partition's numbers continue, for a gateway that has compared everything under a server, if one is
    /// given.
    ///
    /// # Errors
    /// Redis can't be reached.
    pub(super) async fn settle(
        &self,
        partition: u16,
        gateway: Option<(Id, &str)>,
    ) -> Result<Settlement, Error> {
        let ms = |time: Duration| time.as_millis().to_string();
        let (id, compared) = gateway.unzip();
        let args = vec![
            fresh_epoch()?.into(),
            ms(PATIENCE).into(),
            id.map_or_else(String::new, |id| id.to_string()).into(),
            compared.unwrap_or_default().into(),
            ms(HEARTBEAT).into(),
            ms(GONE).into(),
        ];
        let keys = vec![self.0.keys.epoch(partition)];
        let answer = self.0.settle.call(&self.0.redis, keys, args).await?;
        let mut answer = Items::of(answer);
        let settlement = Settlement {
            server: answer.text().unwrap_or_default(),
            settled: answer.number() == 1,
            epoch: answer.text().unwrap_or_default(),
        };
        let absent = answer.number();
        if absent > 0 {
            tracing::error!(
                partition,
                gateways.absent = absent,
                "a gateway did not answer after a restart of redis, a new epoch begins"
            );
        }
        Ok(settlement)
    }

    /// Waits until a partition's numbers continue.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if a gateway has not answered yet, or Redis can't be reached.
    pub(super) async fn settled(&self, partition: u16) -> Result<(), Error> {
        let settling = &self.0.settling[usize::from(partition)];
        let waiting = async {
            let _turn = settling.polling.lock().await;
            while !self.settle(partition, None).await?.settled {
                tokio::time::sleep(POLL).await;
            }
            Ok(())
        };
        timeout(COMMAND_TIMEOUT, waiting)
            .await
            .unwrap_or_else(|_| Err(unsettled()))
    }

    /// Takes a gateway that stops out of the registry. Nothing may be acknowledged by it afterwards.
    pub(super) async fn unregister(&self, gateway: Id) {
        let redis = self.0.redis.with_options(&hot_path());
        for partition in 0..self.0.keys.partitions() {
            let key = self.0.keys.epoch(partition);
            let removed: Result<i64, _> = redis.hdel(key, format!("g:{gateway}")).await;
            if let Err(error) = removed {
                // It counts as one that did not answer, until it has been silent for long enough.
                tracing::debug!(
                    error.kind = error.kind().to_str(),
                    "gateway not unregistered"
                );
                return;
            }
        }
    }

    /// Notes an append that was acknowledged.
    pub(super) fn acknowledged(&self, ticket: Id, seq: u64, at: i64) {
        let settling = &self.0.settling[usize::from(self.0.keys.partition(ticket))];
        let mut newest = settling
            .newest
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if newest.is_none_or(|newest| newest.at <= at) {
            *newest = Some(Acknowledged { at, ticket, seq });
        }
    }

    /// Compares the newest append that was acknowledged in a partition, before which nothing can be lost if it is not.
    /// Ends `epoch` where it is.
    ///
    /// # Errors
    /// Redis or MongoDB can't be reached.
    pub(super) async fn compare_acknowledged(
        &self,
        partition: u16,
        epoch: &str,
    ) -> Result<(), Error> {
        let newest = &self.0.settling[usize::from(partition)].newest;
        let newest = *newest.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Acknowledged { ticket, seq, .. }) = newest else {
            return Ok(());
        };
        let found = match self.peek(ticket, Part::NONE).await? {
            Some(view) if view.epoch != epoch => return Ok(()),
            Some(view) => view.numbers.seq,
            None => {
                let stored = self.0.store.ticket(ticket).await?;
                stored.map_or(0, |stored| stored.numbers.seq)
            }
        };
        if found < seq {
            let lost = seq - found;
            tracing::error!(ticket.id = %ticket, lost, "redis lost entries that were acknowledged");
            self.end_epoch(ticket, epoch).await?;
        }
        Ok(())
    }

    /// Forgets what was acknowledged under an epoch that has ended.
    pub(super) fn forget_acknowledged(&self, partition: u16) {
        let newest = &self.0.settling[usize::from(partition)].newest;
        *newest.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The answer to appends until each gateway has answered.
fn unsettled() -> Error {
    Error::Unavailable {
        part: "redis",
        reason: "it was restarted, and not every gateway has compared what it has seen yet".into(),
    }
}
