//! How many connections there are, of everybody and of each address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The connections that are here, and how many there may be.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    most_of_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place among those that are allowed. Goes with the connection.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The gateway has as many connections as it may.
    All,
    /// The address has.
    Address,
}

impl Places {
    /// So many places, and so many for each address; 0 is no bound.
    pub(super) fn new(most: usize, most_of_address: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_of_address,
            taken: Mutex::default(),
        })
    }

    /// Takes one.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let within = |count: usize, most: usize| most == 0 || count < most;
        let mut taken = self.taken();
        let here = taken.by_address.get(&address).copied().unwrap_or(0);
        if !within(taken.all, self.most) {
            return Err(Full::All);
        }
        if !within(here, self.most_of_address) {
            return Err(Full::Address);
        }
        taken.all += 1;
        taken.by_address.insert(address, here + 1);
        drop(taken);
        Ok(Place {
            places: Arc::clone(self),
            address,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_and_out() {
        let places = Places::new(3, 2);
        let [a, b] = ["1.1.1.1", "2.2.2.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let take = |address| places.take(address);
        let first = take(a).unwrap();
        let _second = take(a).unwrap();
        assert_eq!(take(a).unwrap_err(), Full::Address);
        let third = take(b).unwrap();
        assert_eq!(take(b).unwrap_err(), Full::All);
        drop(first);
        let fourth = take(b).unwrap();
        assert_eq!(places.taken().by_address.len(), 2);
        drop((third, fourth));
        assert_eq!(
            places.taken().by_address.len(),
            1,
            "nothing is kept of who is gone"
        );
    }

    #[test]
    fn without_a_bound_there_are_as_many_as_come() {
        let places = Places::new(0, 0);
        let address = "1.1.1.1".parse().unwrap();
        let all: Vec<_> = (0..100).map(|_| places.take(address).unwrap()).collect();
        assert_eq!(places.taken().all, all.len());
    }
}
