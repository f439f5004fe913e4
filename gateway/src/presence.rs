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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The socket.
    pub socket: String,
    /// Whose it is.
    pub person: Person,
}

impl Lease {
    fn name(&self) -> Value {
        format!("{}|{}", self.socket, self.person.key()).into()
    }
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

    /// Somebody's socket came in. Answers with everybody who is there.
    ///
    /// # Errors
    /// Redis can't be reached or refuses writes.
    pub async fn join(&self, ticket: Id, lease: &Lease) -> Result<Vec<Person>, Error> {
        let person = serde_json::to_string(&lease.person)?;
        let args = vec![lease.name(), lease.person.key().into(), person.into()];
        let mut people = Items::of(self.call(ticket, "join", args).await?);
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
    /// As [`Presence::join`].
    pub async fn leave(&self, ticket: Id, lease: &Lease) -> Result<(), Error> {
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
    /// As [`Presence::join`].
    pub async fn disconnected(&self, ticket: Id, lease: &Lease) -> Result<(), Error> {
        let grace = GRACE.as_millis().to_string();
        self.call(
            ticket,
            "drop",
            vec![lease.name(), lease.person.key().into(), grace.into()],
        )
        .await
        .map(drop)
    }

    /// These sockets are still here. Also ends the leases that ran out.
    ///
    /// # Errors
    /// As [`Presence::join`].
    pub async fn beat(
        &self,
        ticket: Id,
        leases: impl Iterator<Item = &Lease>,
    ) -> Result<(), Error> {
        let mut args = Vec::new();
        for lease in leases {
            args.extend([
                lease.name(),
                lease.person.key().into(),
                serde_json::to_string(&lease.person)?.into(),
            ]);
        }
        self.call(ticket, "beat", args).await.map(drop)
    }

    async fn call(&self, ticket: Id, op: &'static str, more: Vec<Value>) -> Result<Value, Error> {
        let names = vec![self.keys.here(ticket), self.keys.who(ticket)];
        let lease = LEASE.as_millis().to_string();
        let mut args: Vec<Value> = vec![op.into(), self.keys.live(ticket).into(), lease.into()];
        args.extend(more);
        Ok(self.script.call(&self.redis, names, args).await?)
    }
}
