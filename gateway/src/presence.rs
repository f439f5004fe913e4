//! Who is in a ticket, over all gateways and tabs: leases in Redis, one for each socket, counted by person.
//!
//! A gateway renews the leases of its own sockets. A lease that is not renewed runs out, and whichever gateway
//! removes a person's last one tells the others. So a killed gateway's people leave, and leave once.

use std::time::Duration;

use fred::{clients::Client, types::Value};
use ticket_shared::{domain::Person, id::Id, lifecycle::Lifecycle, stream::Keys};
use tokio::time::Instant;

mod beats;

use beats::{Beat, Beats};

use crate::{
    error::Error,
    script::{Items, Script},
};

/// How often a gateway renews the leases of its sockets.
pub const BEAT: Duration = Duration::from_secs(10);
/// At how many times between two beats tickets beat: not all at once, and those of a time in as few calls as they fit.
/// With 64 the bursts of 2,500 tickets show in the slowest hundredth of the joins, and save no more.
const TIMES: u32 = 256;
/// How long a lease lasts. With [`BEAT`], people of a killed gateway are gone after 42 s at the latest, and a
/// gateway may miss two beats.
const LEASE: Duration = Duration::from_secs(32);
/// For how long after a broken connection a person is still there: as long as a page takes to reload.
pub const GRACE: Duration = Duration::from_secs(3);

/// One socket of one person in one ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease<'a> {
    /// The socket.
    pub socket: &'a str,
    /// Whose it is.
    pub person: &'a Person,
}

impl Lease<'_> {
    fn name(&self) -> Value {
        format!("{}|{}", self.socket, self.person.key()).into()
    }
}

/// Where a ticket's log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Its newest `seq`; none where it is not in Redis.
    pub seq: Option<u64>,
    /// The epoch; empty where Redis has none.
    pub epoch: String,
}

/// The leases of all tickets.
pub struct Presence {
    redis: Client,
    keys: Keys,
    script: Script,
    beats: Beats,
    /// What the times of beats count from.
    began: Instant,
}

impl Presence {
    /// Leases under `keys` in `redis`.
    pub fn start(redis: Client, keys: Keys, life: &Lifecycle) -> Self {
        Self {
            script: Script::new(include_str!("presence.lua")),
            beats: Beats::start(&redis, &keys, life),
            began: Instant::now(),
            redis,
            keys,
        }
    }

    /// When the sockets of a ticket are to be renewed next, where they just were: one [`BEAT`] later at the latest.
    pub fn next_beat(&self, ticket: Id) -> Instant {
        let now = Instant::now();
        now + until_beat(ticket, now - self.began)
    }

    /// The keys and arguments of the script for a socket that comes in.
    ///
    /// # Errors
    /// None that can happen: a person can be written as JSON.
    pub(crate) fn join_call(
        keys: &Keys,
        ticket: Id,
        lease: Lease<'_>,
    ) -> Result<([String; 2], Vec<Value>), serde_json::Error> {
        let person = serde_json::to_string(lease.person)?;
        let more = vec![lease.name(), lease.person.key().into(), person.into()];
        Ok(call(keys, ticket, "join", more))
    }

    /// What it answers: everybody who is there.
    ///
    /// # Errors
    /// Somebody can't be read.
    pub(crate) fn people(answer: Value) -> Result<Vec<Person>, serde_json::Error> {
        let mut people = Items::of(answer);
        let mut all = Vec::new();
        while let Some(person) = people.bytes() {
            all.push(serde_json::from_slice::<Person>(&person)?);
        }
        all.sort_by(|a, b| (a.user_type, &a.user_id).cmp(&(b.user_type, &b.user_id)));
        Ok(all)
    }

    /// The socket leaves because the person said so.
    ///
    /// # Errors
    /// Redis can't be reached or refuses writes.
    pub async fn leave(&self, ticket: Id, lease: Lease<'_>) -> Result<(), Error> {
        self.call(
            ticket,
            "leave",
            vec![lease.name(), lease.person.key().into()],
        )
        .await
        .map(drop)
    }

    /// The socket's connection ended; the person is gone unless another comes within [`GRACE`].
    ///
    /// # Errors
    /// Redis can't be reached or refuses writes.
    pub async fn disconnected(&self, ticket: Id, lease: Lease<'_>) -> Result<(), Error> {
        let grace = GRACE.as_millis().to_string();
        self.call(
            ticket,
            "drop",
            vec![lease.name(), lease.person.key().into(), grace.into()],
        )
        .await
        .map(drop)
    }

    /// These sockets are still here. Also ends the leases that ran out, and tells where the ticket's log is.
    ///
    /// # Errors
    /// Redis can't be reached or refuses writes.
    pub async fn beat<'a>(
        &self,
        ticket: Id,
        leases: impl Iterator<Item = Lease<'a>>,
    ) -> Result<Position, Error> {
        let (mut more, mut count) = (Vec::new(), 0);
        for lease in leases {
            count += 1;
            more.extend([
                lease.name(),
                lease.person.key().into(),
                serde_json::to_string(lease.person)?.into(),
            ]);
        }
        let ([here, who], args) = call(&self.keys, ticket, "beat", more);
        let partition = self.keys.partition(ticket);
        let (state, epoch) = (self.keys.state(ticket), self.keys.epoch(partition));
        let beat = Beat {
            keys: [here, who, state, epoch],
            args,
            leases: count,
        };
        self.beats.call(partition, beat).await
    }

    async fn call(&self, ticket: Id, op: &'static str, more: Vec<Value>) -> Result<Value, Error> {
        let (names, args) = call(&self.keys, ticket, op, more);
        Ok(self.script.call(&self.redis, names.to_vec(), args).await?)
    }
}

/// The keys and arguments of the script.
fn call(keys: &Keys, ticket: Id, op: &'static str, more: Vec<Value>) -> ([String; 2], Vec<Value>) {
    let names = [keys.here(ticket), keys.who(ticket)];
    let lease = LEASE.as_millis().to_string();
    let mut args: Vec<Value> = vec![op.into(), keys.live(ticket).into(), lease.into()];
    args.extend(more);
    (names, args)
}

/// For how long a ticket that has just beaten waits, where so much time has passed since the beginning.
fn until_beat(ticket: Id, since: Duration) -> Duration {
    // The last byte counts up from id to id.
    let own = BEAT / TIMES * u32::from(ticket.bytes()[11]);
    let beat = BEAT.as_nanos();
    let ahead = (own.as_nanos() + beat - since.as_nanos() % beat) % beat;
    match u64::try_from(ahead) {
        Ok(ahead @ 1..) => Duration::from_nanos(ahead),
        _ => BEAT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_beat_at_their_time_once_in_each_beat() {
        let ticket = |last| {
            let mut bytes = [7; 12];
            bytes[11] = last;
            Id::from_bytes(bytes)
        };
        let ms = Duration::from_millis;
        assert_eq!(until_beat(ticket(0), ms(0)), BEAT);
        assert_eq!(until_beat(ticket(0), ms(1)) + ms(1), BEAT);
        assert_eq!(until_beat(ticket(128), ms(0)), BEAT / 2);
        assert_eq!(until_beat(ticket(128), ms(20_000)), BEAT / 2);
        assert_eq!(until_beat(ticket(128), ms(5_000)), BEAT);
        assert_eq!(until_beat(ticket(128), ms(5_001)) + ms(1), BEAT);
        assert_eq!(until_beat(ticket(128), ms(14_999)), ms(1));
        assert_eq!(until_beat(ticket(255), ms(3)) + ms(3), BEAT / 256 * 255);
    }
}
