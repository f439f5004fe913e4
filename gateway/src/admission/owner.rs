//! Whom a rate belongs to: the identity of a token, else the address.

use std::{fmt, net::IpAddr, str::FromStr};

use sha2::{Digest, Sha256};

/// The owner of a rate, under a name that is the same on every gateway and says nothing about the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) kind: Kind,
    hash: u128,
}

/// The kind of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A person with a token.
    Identity,
    /// Everybody without one at an address.
    Address,
}

impl Kind {
    /// Its name in metrics and logs.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Address => "address",
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::Identity => 'i',
            Self::Address => 'a',
        }
    }
}

impl Owner {
    /// The person whose scope this is.
    pub(super) fn identity(scope: &str) -> Self {
        Self::new(Kind::Identity, scope.as_bytes())
    }

    /// An address, as it is counted.
    pub(super) fn address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::new(Kind::Address, &v4.octets()),
            IpAddr::V6(v6) => Self::new(Kind::Address, &v6.octets()),
        }
    }

    fn new(kind: Kind, name: &[u8]) -> Self {
        let digest = Sha256::digest(name);
        let half = digest
            .iter()
            .take(16)
            .fold(0, |hash, byte| hash << 8 | u128::from(*byte));
        Self { kind, hash: half }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:032x}", self.kind.letter(), self.hash)
    }
}

impl FromStr for Owner {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let kinds = [Kind::Identity, Kind::Address];
        let found = kinds
            .into_iter()
            .find_map(|kind| Some((kind, text.strip_prefix(kind.letter())?)));
        let (kind, hash) = found.ok_or(())?;
        let hash = u128::from_str_radix(hash, 16).map_err(drop)?;
        Ok(Self { kind, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let address = Owner::address("10.0.0.1".parse().unwrap());
        for owner in [Owner::identity("user:ann"), address] {
            let name = owner.to_string();
            assert_eq!(name.len(), 33);
            assert_eq!(name.parse(), Ok(owner));
        }
        assert_ne!(Owner::identity("user:ann"), Owner::identity("agent:ann"));
        for other in ["", "x0", "a", "i+1x", "a:"] {
            assert!(other.parse::<Owner>().is_err(), "{other}");
        }
    }
}
