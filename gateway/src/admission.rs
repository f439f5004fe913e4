//! What clients may take: who may connect, how often they may ask, and how much may wait for them.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use engineioxide::socket::Sid;
use ticket_shared::config::BadSetting;

mod account;
mod address;
mod attachments;
mod bans;
mod bucket;
mod ledger;
mod left;
mod line;
mod owner;
mod owner_rate;
mod places;
mod settings;
mod shared;

pub use account::Account;
pub use address::Network;
pub use ledger::EventRate;
pub use line::{Line, PACKETS};
pub use places::Place;
pub use settings::Limits;

use crate::{
    access::{Caller, Counted},
    audit::Audit,
    error::{Error, plain_problem},
    metrics::Metrics,
};
use bucket::{Keyed, Rate};
use ledger::{Ledger, Refusal};
use owner::Owner;
use places::{Full, Places};

/// The address that a request is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client(pub IpAddr);

/// The limits of one gateway, and how near everybody is to them.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    trusted: Vec<Network>,
    metrics: Metrics,
    connects: Keyed<()>,
    connects_by_address: Keyed<IpAddr>,
    ledger: Arc<Ledger>,
    places: Arc<Places>,
    /// The sessions that the engine has, no others.
    lines: Mutex<HashMap<Sid, Arc<Line>>>,
}

impl Admission {
    /// Nobody is here yet.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub fn new(limits: Limits, metrics: Metrics) -> Result<Self, BadSetting> {
        let rate = |per_second: u32, times| Rate::new(per_second, per_second.saturating_mul(times));
        Ok(Self {
            trusted: limits.proxies()?,
            metrics,
            connects: Keyed::new(rate(limits.connect_rate, 2)),
            connects_by_address: Keyed::new(rate(limits.connect_rate_address, 5)),
            ledger: Ledger::new(
                rate(limits.event_rate, 4),
                // Half of a connection's, because gateways learn of each other late, and each gives this much at once:
                // three of them let no more than fifteen seconds' worth through within ten.
                rate(limits.identity_rate, 2),
                rate(limits.address_rate, 2),
                limits.abuse_limit,
            ),
            places: Places::new(limits.max_connections, limits.max_connections_address),
            lines: Mutex::default(),
            limits,
        })
    }

    /// The settings.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The record of connections that are cut.
    pub fn audit(&self) -> &Audit {
        &self.metrics.audit
    }

    /// Whom a request of this peer is counted for.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let (address, unreadable) = address::client(peer, headers, &self.trusted);
        if unreadable {
            self.metrics.forwarded_unreadable.inc();
        }
        Client(address)
    }

    /// Whether the peer is a proxy whose word on a request counts.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|network| network.holds(peer))
    }

    /// Lets a new connection in.
    ///
    /// # Errors
    /// The answer to whom there is no place for now: with a time to come back at, and not all at the same.
    #[expect(
        clippy::result_large_err,
        reason = "the answer is sent at once, and lives no longer"
    )]
    pub(crate) fn enter(&self, client: Client) -> Result<Place, Response> {
        let (now, address) = (Instant::now(), client.0);
        let limited = |reason| self.limited(reason);
        let overloaded = |reason| self.overloaded(reason);
        // The address first: what one address asks too much of must not use up everybody's share.
        if self.connects_by_address.take(&address, now).is_err() {
            return Err(limited("address_rate"));
        }
        if self.connects.take(&(), now).is_err() {
            return Err(overloaded("rate"));
        }
        self.places.take(address).map_err(|full| match full {
            Full::All => overloaded("connections"),
            Full::Address => limited("address_connections"),
        })
    }

    /// The address that a connection counts for before anything of it is read, and whether it is a proxy's.
    pub(crate) fn counting(self: &Arc<Self>) -> crate::net::Counted {
        let admission = Arc::clone(self);
        Box::new(move |peer| {
            let Client(counted) = admission.client(peer, &HeaderMap::new());
            (counted, admission.trusts(peer))
        })
    }

    /// The answer to a connection for which there is no file descriptor.
    pub(crate) fn no_descriptors(&self) -> Response {
        self.overloaded("descriptors")
    }

    /// The answer to a connection that comes before Redis was heard.
    pub(crate) fn not_ready_yet(&self) -> Response {
        let detail = "this server has just started; try again soon";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        self.refuse("redis", status, "unavailable", detail)
    }

    /// The answer to a connection of an address that has its share of file descriptors.
    pub(crate) fn no_share(&self) -> Response {
        self.limited("address_descriptors")
    }

    fn limited(&self, reason: &'static str) -> Response {
        let detail = "too many connections from this address";
        let status = StatusCode::TOO_MANY_REQUESTS;
        self.refuse(reason, status, "rate_limited", detail)
    }

    fn overloaded(&self, reason: &'static str) -> Response {
        let detail = "too many connections; try again soon";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        self.refuse(reason, status, "overloaded", detail)
    }

    /// A refusal with a time to come back at, and not the same for all.
    fn refuse(
        &self,
        reason: &'static str,
        status: StatusCode,
        code: &'static str,
        detail: &str,
    ) -> Response {
        self.metrics.refused(reason);
        let mut answer = plain_problem(status, code, detail);
        let seconds = HeaderValue::from(1 + jitter() % 5);
        answer.headers_mut().insert(header::RETRY_AFTER, seconds);
        answer
    }

    /// Counts a request of this address. Refuses it, too, while the address is turned away.
    ///
    /// # Errors
    /// [`Error::RateLimited`].
    pub fn address(&self, client: Client) -> Result<(), Error> {
        let owner = Owner::address(client.0);
        let counted = self.ledger.request(owner, Instant::now());
        counted.map_err(|refusal| self.refused(refusal).error)
    }

    /// Counts a request of this caller, over all of its connections. Callers without a token are told apart by nothing
    /// that can be relied on: their address is counted. What is refused to an identity is not counted for its address,
    /// behind which others may be.
    ///
    /// # Errors
    /// [`Error::RateLimited`].
    pub fn caller(&self, caller: &Caller, client: Option<Client>) -> Result<(), Error> {
        if matches!(caller, Caller::Anyone) {
            return Ok(());
        }
        let (owner, now) = (Owner::identity(&caller.scope()), Instant::now());
        self.ledger.request(owner, now).map_err(|refusal| {
            if let Some(client) = client {
                self.ledger.of(Owner::address(client.0), now).give_back(now);
            }
            self.refused(refusal).error
        })
    }

    /// The rate of a connection of this caller, over this session of the engine.
    pub(crate) fn rate(&self, session: &str, caller: &Caller, client: Option<Client>) -> EventRate {
        let identity = match caller {
            Caller::Anyone => None,
            Caller::Known(_) => Some(caller.scope()),
        };
        let address = client.map(|client| client.0);
        let now = Instant::now();
        EventRate::new(&self.ledger, session, identity.as_deref(), address, now)
    }

    /// Counts an event.
    pub(crate) fn event(&self, rate: &EventRate) -> Result<(), Refused> {
        let counted = rate.take(Instant::now());
        counted.map_err(|refusal| self.refused(refusal))
    }

    /// Counts an event that was refused where all gateways meet. Returns whether its client is to be cut off.
    pub(crate) fn refused_elsewhere(&self, rate: &EventRate) -> bool {
        self.metrics.rate_limited("ticket");
        rate.refused(Instant::now())
    }

    fn refused(&self, refusal: Refusal) -> Refused {
        self.metrics.rate_limited(refusal.scope);
        let ms = refusal.wait.as_millis();
        let retry_after_ms = u64::try_from(ms).unwrap_or(u64::MAX).max(1);
        Refused {
            error: Error::RateLimited { retry_after_ms },
            abuse: refusal.abuse,
            banned: refusal.scope == ledger::ABUSE,
        }
    }

    /// Whether a connection that is in `rooms` tickets may join one more.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn another_room(&self, rooms: usize) -> Result<(), Error> {
        let most = self.limits.rooms_per_socket;
        if most > 0 && rooms >= most {
            return Err(Error::Forbidden(
                "too many tickets are open on this connection",
            ));
        }
        Ok(())
    }

    /// Whether the engine has this session.
    pub(crate) fn knows(&self, sid: &str) -> bool {
        sid.parse().is_ok_and(|sid| self.lines().contains_key(&sid))
    }

    /// The ways out to all clients.
    pub(crate) fn all_lines(&self) -> Vec<Arc<Line>> {
        self.lines().values().cloned().collect()
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Sid, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event that is not accepted.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: Error,
    /// Its client was refused so often that it is to be cut off.
    pub(crate) abuse: bool,
    /// Its client is turned away for a while.
    pub(crate) banned: bool,
}

impl EventRate {
    /// The name and rate under which appends to one ticket are counted where all gateways meet: of a client that uses
    /// much of its rate.
    pub(crate) fn counted(&self) -> Option<Counted> {
        let (owner, per_second) = self.hurries(Instant::now())?;
        Some(Counted { owner, per_second })
    }
}

/// Some number, another one each time.
fn jitter() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
