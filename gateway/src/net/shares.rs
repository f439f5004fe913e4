//! The shares of addresses in the connections that this process can have. An address is counted when its connection is
//! accepted, before a byte is read; connections that ask for nothing are the first to go under pressure.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::WireState;

/// The open connections, by address.
#[derive(Debug)]
pub(crate) struct Shares {
    most: usize,
    table: Mutex<Table>,
    /// How many connections were closed.
    closed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Table {
    addresses: HashMap<IpAddr, Held>,
    /// Numbers idle connections in the order in which they became so.
    next: u64,
}

/// The connections of one address.
#[derive(Debug, Default)]
struct Held {
    count: usize,
    idle: BTreeMap<u64, Arc<WireState>>,
    /// The address is a proxy's: others are behind it.
    proxy: bool,
}

/// One connection's part in its address' share. Held by the connection, and given back with it.
#[derive(Debug)]
pub(crate) struct Seat {
    shares: Arc<Shares>,
    wire: Arc<WireState>,
    at: Mutex<At>,
}

#[derive(Debug)]
struct At {
    address: IpAddr,
    /// The number of an idle connection.
    idle: Option<u64>,
}

impl Shares {
    /// Shares of at most so many connections for each address.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            table: Mutex::default(),
            closed: watch::Sender::new(0),
        })
    }

    /// A connection of this address was accepted. An address that has its share loses the connection that has been idle
    /// for longest. A proxy is not bound: its connections count for the addresses that it forwards.
    ///
    /// Returns `None` if the address has its share, and uses all of it.
    pub(crate) fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        proxy: bool,
        wire: &Arc<WireState>,
    ) -> Option<Arc<Seat>> {
        let mut table = self.table();
        let number = table.next;
        table.next += 1;
        let held = table.addresses.entry(address).or_default();
        held.proxy |= proxy;
        let mut gone = None;
        if held.count >= self.most && !held.proxy {
            gone = Some(held.idle.pop_first()?.1);
        }
        held.count += 1;
        held.idle.insert(number, Arc::clone(wire));
        drop(table);
        if let Some(gone) = gone {
            gone.abort();
        }
        Some(Arc::new(Seat {
            shares: Arc::clone(self),
            wire: Arc::clone(wire),
            at: Mutex::new(At {
                address,
                idle: Some(number),
            }),
        }))
    }

    /// Closes an idle connection: of the address that has most of them, the one that has been so for longest. Proxies
    /// come last. Returns whether there was one.
    pub(crate) fn evict(&self) -> bool {
        let mut table = self.table();
        let idle = table
            .addresses
            .values_mut()
            .filter(|held| !held.idle.is_empty());
        let most = idle.max_by_key(|held| (!held.proxy, held.idle.len()));
        let gone = most.and_then(|held| held.idle.pop_first());
        drop(table);
        let Some((_, wire)) = gone else {
            return false;
        };
        wire.abort();
        true
    }

    /// Changes with every connection that is closed.
    pub(crate) fn closed(&self) -> watch::Receiver<u64> {
        self.closed.subscribe()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn of(&mut self, address: IpAddr) -> &mut Held {
        self.addresses.entry(address).or_default()
    }

    fn leave(&mut self, at: &At) {
        let held = self.of(at.address);
        held.count = held.count.saturating_sub(1);
        if let Some(number) = at.idle {
            held.idle.remove(&number);
        }
        if held.count == 0 {
            self.addresses.remove(&at.address);
        }
    }
}

impl Seat {
    /// A request came over the connection, or it was upgraded: it is not idle.
    pub(crate) fn busy(&self) {
        let mut at = self.at();
        if let Some(number) = at.idle.take() {
            self.shares.table().of(at.address).idle.remove(&number);
        }
    }

    /// The request was answered.
    pub(crate) fn idle(&self) {
        let mut at = self.at();
        if at.idle.is_none() {
            let mut table = self.shares.table();
            let number = table.next;
            table.next += 1;
            let wire = Arc::clone(&self.wire);
            table.of(at.address).idle.insert(number, wire);
            at.idle = Some(number);
        }
    }

    /// The connection counts for this address from now on: its proxy said so. Returns whether that has room.
    pub(crate) fn counts_for(&self, address: IpAddr) -> bool {
        let mut at = self.at();
        if at.address == address {
            return true;
        }
        let mut table = self.shares.table();
        let held = table.of(address);
        if held.count >= self.shares.most && !held.proxy {
            return false;
        }
        held.count += 1;
        if let Some(number) = at.idle {
            held.idle.insert(number, Arc::clone(&self.wire));
        }
        table.leave(&at);
        at.address = address;
        true
    }

    fn at(&self) -> MutexGuard<'_, At> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let at = self.at.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.shares.table().leave(at);
        self.shares.closed.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    struct Open(Arc<WireState>, Option<Arc<Seat>>);

    impl Open {
        fn from(shares: &Arc<Shares>, last: u8) -> Self {
            let wire = Arc::default();
            let seat = shares.enter(address(last), false, &wire);
            Self(wire, seat)
        }

        fn cut(&self) -> bool {
            self.0.aborted()
        }
    }

    #[test]
    fn an_address_that_has_its_share_loses_its_longest_idle_connection_or_gets_none() {
        let shares = Shares::new(2);
        let (first, second) = (Open::from(&shares, 1), Open::from(&shares, 1));
        let other = Open::from(&shares, 2);
        let third = Open::from(&shares, 1);
        assert!(third.1.is_some() && first.cut() && !second.cut());
        drop(first);
        for busy in [&second, &third] {
            busy.1.as_ref().unwrap().busy();
        }
        assert!(Open::from(&shares, 1).1.is_none(), "nothing of it is idle");
        assert!(!other.cut());
        drop(second);
        assert!(Open::from(&shares, 1).1.is_some());
    }

    #[test]
    fn under_pressure_whoever_has_most_idle_ones_loses_the_oldest() {
        let shares = Shares::new(usize::MAX);
        let many: Vec<_> = (0..3).map(|_| Open::from(&shares, 1)).collect();
        let few: Vec<_> = (0..2).map(|_| Open::from(&shares, 2)).collect();
        // The oldest was asked for something meanwhile, and so is the youngest now.
        let seat = many[0].1.as_ref().unwrap();
        seat.busy();
        seat.idle();
        assert!(shares.evict());
        let cut: Vec<_> = many.iter().chain(&few).map(Open::cut).collect();
        assert_eq!(cut, [false, true, false, false, false]);
        for open in many.iter().chain(&few) {
            open.1.as_ref().unwrap().busy();
        }
        assert!(!shares.evict(), "what is in use stays");
        drop((many, few));
        assert!(shares.table().addresses.is_empty(), "nothing is kept");
    }

    #[test]
    fn behind_a_proxy_the_addresses_count_that_it_forwards() {
        let shares = Shares::new(1);
        let behind = |_| {
            let wire = Arc::default();
            shares.enter(address(9), true, &wire).unwrap()
        };
        let seats: Vec<_> = (0..3).map(behind).collect();
        assert!(seats[0].counts_for(address(1)));
        assert!(seats[0].counts_for(address(1)), "still");
        assert!(!seats[1].counts_for(address(1)), "it has its share");
        assert!(seats[1].counts_for(address(2)));
        assert!(seats[0].counts_for(address(3)), "kept for another client");
        assert!(seats[2].counts_for(address(1)));
        drop(seats);
        assert!(shares.table().addresses.is_empty());
    }
}
