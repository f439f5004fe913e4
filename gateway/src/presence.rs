//! Who is in a ticket, over all gateways and tabs: leases in Redis, one for each socket, counted by person.
//!
//! A gateway renews the leases of its own sockets. A lease that is not renewed runs out, and whichever gateway
//! removes a person's last one tells the others. So a killed gateway's people leave, and leave once.

use std::time::Duration;

use fred::{clients::Client, types::Value};
use ticket_shared::{domain::Person, id::Id, stream::Keys};

use crate::{
    error::Error,
    script::{Items, Script},
};

/// How often a gateway renews the leases of its sockets.
pub const BEAT: Duration = Duration::from_secs(10);
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
#[derive(Debug)]
pub struct Presence {
    redis: Client,
    keys: Keys,
    script: Script,
}

impl Presence {
    /// Leases under `keys` in `redis`.
    pub fn new(redis: Client, keys: Keys) -> Self {
        Self {
            redis,
            keys,
            script: Script::new(include_str!("presence.lua")),
        }
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
        let mut more = Vec::new();
        for lease in leases {
            more.extend([
                lease.name(),
                lease.person.key().into(),
                serde_json::to_string(lease.person)?.into(),
            ]);
        }
        let (names, args) = call(&self.keys, ticket, "beat", more);
        let mut names = names.to_vec();
        names.extend([
            self.keys.state(ticket),
            self.keys.epoch(self.keys.partition(ticket)),
        ]);
        let mut answer = Items::of(self.script.call(&self.redis, names, args).await?);
        let seq = answer.text().and_then(|seq| seq.parse().ok());
        let epoch = answer.text().unwrap_or_default();
        Ok(Position { seq, epoch })
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
