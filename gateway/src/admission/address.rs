//! Where a request comes from: the peer, or what proxies that are trusted say of it.

use std::{
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use axum::http::{HeaderMap, HeaderValue};

/// A network such as 10.0.0.0/8; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base, Some(bits.parse().map_err(drop)?)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(drop)?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits: u8 = bits.unwrap_or(most);
        if bits > most {
            return Err(());
        }
        // Addresses are compared in their own version (RFC 4291, 2.5.5.2).
        Ok(match (base.to_canonical(), bits.checked_sub(96)) {
            (base @ IpAddr::V4(_), Some(bits)) if most == 128 => Self { base, bits },
            _ => Self { base, bits },
        })
    }
}

impl Network {
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let differ = u32::from(base) ^ u32::from(address);
                differ.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let differ = u128::from(base) ^ u128::from(address);
                differ.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

/// The address that a request is counted for: the rightmost of those that forwarded it which no trusted proxy has. And
/// whether a hop that counts is no address.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> (IpAddr, bool) {
    let trusts = |address: IpAddr| trusted.iter().any(|network| network.holds(address));
    let mut client = peer.to_canonical();
    if !trusts(client) {
        return (counted(client), false);
    }
    let lines: Vec<&[u8]> = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let hops = lines
        .iter()
        .rev()
        .flat_map(|line| line.rsplit(|byte| *byte == b','));
    for hop in hops {
        // What is no address was not written by a proxy of ours.
        let text = std::str::from_utf8(hop).ok();
        let Some(address) = text.and_then(|text| parse(text.trim())) else {
            return (counted(client), true);
        };
        client = address.to_canonical();
        if !trusts(client) {
            break;
        }
    }
    (counted(client), false)
}

/// An address as proxies write it: alone, in brackets, or with a port.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| {
        text.parse::<std::net::SocketAddr>()
            .ok()
            .map(|address| address.ip())
    })
}

/// One subscriber has a whole /64 of IPv6.
fn counted(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & (u128::MAX << 64))),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, forwarded: &[&'static str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            let line = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append("x-forwarded-for", line);
        }
        let trusted: Vec<Network> = trusted.iter().map(|each| each.parse().unwrap()).collect();
        client(peer.parse().unwrap(), &headers, &trusted)
            .0
            .to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(of("1.2.3.4", &["9.9.9.9"], &[]), "1.2.3.4");
        assert_eq!(of("1.2.3.4", &["9.9.9.9"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(of("10.1.2.3", &["9.9.9.9"], &["10.0.0.0/8"]), "9.9.9.9");
        assert_eq!(
            of("::ffff:10.1.2.3", &["9.9.9.9"], &["10.0.0.0/8"]),
            "9.9.9.9"
        );
    }

    #[test]
    fn mapped_networks_are_those_of_the_other_version() {
        for proxies in [
            "::ffff:10.1.2.3",
            "::ffff:10.0.0.0/104",
            "::ffff:a01:203/128",
        ] {
            assert_eq!(of("10.1.2.3", &["9.9.9.9"], &[proxies]), "9.9.9.9");
            assert_eq!(of("11.1.2.3", &["9.9.9.9"], &[proxies]), "11.1.2.3");
        }
        assert_eq!(
            of("10.1.2.3", &["::ffff:9.9.9.9"], &["10.1.2.3"]),
            "9.9.9.9"
        );
        assert_eq!(of("::ffff:0:1", &["9.9.9.9"], &["::/0"]), "0.0.0.1");
    }

    #[test]
    fn what_a_client_writes_itself_stands_left_of_the_truth() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(
            of("10.1.1.1", &["6.6.6.6, 9.9.9.9, 10.2.2.2"], &trusted),
            "9.9.9.9"
        );
        assert_eq!(
            of("10.1.1.1", &["6.6.6.6", "9.9.9.9:80"], &trusted),
            "9.9.9.9"
        );
        assert_eq!(of("10.1.1.1", &["9.9.9.9, nonsense"], &trusted), "10.1.1.1");
        assert_eq!(of("10.1.1.1", &[], &trusted), "10.1.1.1");
        // What stands left of the hop that counts need not be text.
        assert_eq!(of("10.1.1.1", &["\u{e9}, 9.9.9.9"], &trusted), "9.9.9.9");
    }

    #[test]
    fn a_64_of_ipv6_counts_as_one() {
        assert_eq!(of("2001:db8:1:2:3:4:5:6", &[], &[]), "2001:db8:1:2::");
        assert_eq!(of("::1", &["[2001:db8::5]:443"], &["::1"]), "2001:db8::");
    }

    #[test]
    fn networks_are_parsed_strictly() {
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "a", "10.0.0.0/"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.holds("255.1.2.3".parse().unwrap()));
        assert!(!all.holds("::1".parse().unwrap()));
    }
}
