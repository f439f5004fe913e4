//! The rates of all owners on this gateway, and of their connections: what is counted, refused, and reported.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    bans::{Ban, Bans},
    bucket::Rate,
    owner::{Kind, Owner},
    owner_rate::{OwnerRate, Spent, lock},
};

/// How many owners the table holds before those that are idle are dropped.
const OWNERS: usize = 4_096;
/// How many it holds at all. Beyond that the rate of a new owner ends with its connections.
const OWNERS_MOST: usize = 262_144;

/// The scope of refusals while a client is turned away.
pub(super) const ABUSE: &str = "abuse";

/// A refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Which rate refused.
    pub(super) scope: &'static str,
    /// How long until there is room.
    pub(super) wait: Duration,
    /// The client was refused so often that it is to be cut off.
    pub(super) abuse: bool,
}

/// What other gateways should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// An owner is banned.
    Ban(Owner),
    /// An owner has used so much of its rate, in time.
    Used(Owner, Duration),
}

/// The rates.
#[derive(Debug)]
pub(super) struct Ledger {
    connection: Option<Rate>,
    identity: Option<Rate>,
    address: Option<Rate>,
    abuse_limit: u32,
    pub(super) bans: Bans,
    table: Mutex<Table>,
    banned: Mutex<Vec<Owner>>,
    hurrying: Mutex<Vec<Arc<OwnerRate>>>,
    /// There is news.
    pub(super) news: Notify,
}

#[derive(Debug)]
struct Table {
    owners: HashMap<Owner, Arc<OwnerRate>>,
    sweep_at: usize,
}

impl Ledger {
    /// The rates of a connection, an identity and an address, and how many refusals are abuse; 0 is never.
    pub(super) fn new(
        connection: Option<Rate>,
        identity: Option<Rate>,
        address: Option<Rate>,
        abuse_limit: u32,
    ) -> Arc<Self> {
        Arc::new(Self {
            connection,
            identity,
            address,
            abuse_limit,
            bans: Bans::default(),
            table: Mutex::new(Table {
                owners: HashMap::new(),
                sweep_at: OWNERS,
            }),
            banned: Mutex::default(),
            hurrying: Mutex::default(),
            news: Notify::new(),
        })
    }

    /// The rate of an owner.
    pub(super) fn of(&self, owner: Owner, now: Instant) -> Arc<OwnerRate> {
        let mut table = lock(&self.table);
        if let Some(rate) = table.owners.get(&owner) {
            return Arc::clone(rate);
        }
        if table.owners.len() >= table.sweep_at {
            table
                .owners
                .retain(|_, rate| Arc::strong_count(rate) > 1 || !rate.idle(now));
            // Looked at again only when it has doubled, so that a sweep costs little for each owner.
            table.sweep_at = (2 * table.owners.len()).clamp(OWNERS, OWNERS_MOST);
        }
        let rate = match owner.kind {
            Kind::Identity => self.identity,
            Kind::Address => self.address,
        };
        let rate = Arc::new(OwnerRate::new(owner, rate));
        if table.owners.len() < OWNERS_MOST {
            table.owners.insert(owner, Arc::clone(&rate));
        }
        rate
    }

    /// Counts a request of an owner.
    pub(super) fn request(&self, owner: Owner, now: Instant) -> Result<(), Refusal> {
        let scope = owner.kind.as_str();
        if let Some(wait) = self.bans.left(owner, now) {
            return Err(Refusal {
                scope: ABUSE,
                wait,
                abuse: false,
            });
        }
        let rate = self.of(owner, now);
        self.take(&rate, now).map_err(|wait| {
            let abuse = rate.refused(self.abuse_limit, now);
            if abuse {
                self.strike(owner, now);
            }
            Refusal { scope, wait, abuse }
        })
    }

    fn take(&self, rate: &Arc<OwnerRate>, now: Instant) -> Result<(), Duration> {
        if rate.take(now)? {
            let mut hurrying = lock(&self.hurrying);
            if hurrying.len() < OWNERS {
                hurrying.push(Arc::clone(rate));
                self.news.notify_one();
            }
        }
        Ok(())
    }

    /// Bans an owner.
    pub(super) fn strike(&self, owner: Owner, now: Instant) {
        let Some(length) = self.bans.strike(owner, now) else {
            return;
        };
        tracing::warn!(
            owner.kind = owner.kind.as_str(),
            seconds = length.as_secs(),
            "client turned away: it goes on after being refused"
        );
        let mut banned = lock(&self.banned);
        // Where Redis is away for long, what this gateway knows has to do.
        if banned.len() < OWNERS {
            banned.push(owner);
        }
        self.news.notify_one();
    }

    /// What others should know, and are not told yet.
    pub(super) fn take_news(&self) -> Vec<News> {
        let banned = std::mem::take(&mut *lock(&self.banned));
        let hurrying = std::mem::take(&mut *lock(&self.hurrying));
        let used = hurrying
            .iter()
            .map(|rate| News::Used(rate.owner, rate.report()));
        banned.into_iter().map(News::Ban).chain(used).collect()
    }

    /// What other gateways know: that an owner is banned.
    pub(super) fn learn_ban(&self, owner: Owner, ban: Ban, now: Instant) {
        self.bans.learn(owner, ban, now);
    }

    /// What an owner has used on all gateways is paid back after `debt`.
    pub(super) fn learn_debt(&self, owner: Owner, debt: Duration, now: Instant) {
        self.of(owner, now).owes(debt, now);
    }
}

/// The rate of one connection of a client, and of those that it belongs to.
#[derive(Debug)]
pub struct EventRate {
    ledger: Arc<Ledger>,
    session: Box<str>,
    own: Arc<Mutex<Spent>>,
    identity: Option<Arc<OwnerRate>>,
    address: Option<Arc<OwnerRate>>,
}

impl EventRate {
    /// The rate of the session's connection. Whatever else came and went over the session is counted in it.
    pub(super) fn new(
        ledger: &Arc<Ledger>,
        session: &str,
        identity: Option<&str>,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Self {
        let identity = identity.map(|scope| ledger.of(Owner::identity(scope), now));
        let address = address.map(|address| ledger.of(Owner::address(address), now));
        let owner = identity.as_ref().or(address.as_ref());
        Self {
            own: owner.map_or_else(Arc::default, |owner| owner.begin(session, now)),
            ledger: Arc::clone(ledger),
            session: session.into(),
            identity,
            address,
        }
    }

    fn owner(&self) -> Option<&Arc<OwnerRate>> {
        self.identity.as_ref().or(self.address.as_ref())
    }

    /// Counts an event.
    pub(super) fn take(&self, now: Instant) -> Result<(), Refusal> {
        self.taken(now).map_err(|(scope, wait)| Refusal {
            scope,
            wait,
            abuse: self.refused(now),
        })
    }

    fn taken(&self, now: Instant) -> Result<(), (&'static str, Duration)> {
        // Of an address only new connections are turned away: others may be behind it.
        if let Some(identity) = &self.identity
            && let Some(left) = self.ledger.bans.left(identity.owner, now)
        {
            return Err((ABUSE, left));
        }
        if let Some(rate) = self.ledger.connection {
            let taken = lock(&self.own).bucket.take(rate, now);
            taken.map_err(|wait| ("connection", wait))?;
        }
        for (rate, scope) in [(&self.identity, "identity"), (&self.address, "address")] {
            if let Some(rate) = rate {
                self.ledger.take(rate, now).map_err(|wait| (scope, wait))?;
            }
        }
        Ok(())
    }

    /// Counts a refusal, and returns whether the client is to be cut off.
    pub(super) fn refused(&self, now: Instant) -> bool {
        let most = self.ledger.abuse_limit;
        let abuse = match &self.identity {
            Some(identity) => identity.refused(most, now),
            None => lock(&self.own).refusals.add(most, now),
        };
        if abuse && let Some(owner) = self.owner() {
            self.ledger.strike(owner.owner, now);
        }
        abuse
    }

    /// The owner's name and rate if it used much of that of late: then it is counted elsewhere, too.
    pub(super) fn hurries(&self, now: Instant) -> Option<(String, u32)> {
        let owner = self.owner()?;
        let rate = owner.rate?;
        let hurries = owner.hurries(now);
        hurries.then(|| (owner.owner.to_string(), rate.per_second()))
    }
}

impl Drop for EventRate {
    fn drop(&mut self) {
        if let Some(owner) = self.owner() {
            owner.end(&self.session, &self.own, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
