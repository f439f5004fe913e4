//! The hosts that a gateway without tokens answers for.
//!
//! A page of a foreign host may have its own name resolve to this machine (DNS rebinding), and then counts as of one
//! origin with the gateway. What gives it away is the `Host` of its requests, which it can't choose.

use std::collections::HashSet;

use axum::http::{HeaderMap, Uri, header};
use ticket_shared::config::BadSetting;
use url::Host;

use crate::origin::has_empty_label;

/// The hosts of `ALLOWED_HOSTS`, and those of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHosts {
    hosts: HashSet<Host>,
    /// Whether every address counts, too: no name is rebound where a request names none.
    addresses: bool,
    /// `*`: every host.
    any: bool,
}

impl AllowedHosts {
    /// Reads the setting. `listens_beyond_loopback`: others than this machine reach the gateway, by its address.
    ///
    /// # Errors
    /// Names `ALLOWED_HOSTS` if something in it is no host.
    pub fn parse(list: &[String], listens_beyond_loopback: bool) -> Result<Self, BadSetting> {
        let mut it = Self {
            hosts: HashSet::new(),
            addresses: listens_beyond_loopback,
            any: false,
        };
        let given = list.iter().map(|host| host.trim());
        for host in given.filter(|host| !host.is_empty()) {
            if host == "*" {
                it.any = true;
                continue;
            }
            let bare = host.parse().map(Host::Ipv6);
            let host = bare.ok().or_else(|| parse(host)).ok_or_else(|| {
                let problem = "must be hosts such as desk.example.com or 10.0.0.7, without a scheme or port, \
                               separated by commas; or *";
                BadSetting::new("ALLOWED_HOSTS", problem)
            })?;
            it.hosts.insert(host);
        }
        Ok(it)
    }

    /// Whether a request for this target with these headers is answered.
    pub fn admit(&self, target: &Uri, headers: &HeaderMap) -> bool {
        if self.any {
            return true;
        }
        // What an absolute target says goes before the header (RFC 9112, 3.2.2); both must be right, as must each of two.
        let named = target.authority().map(|authority| Some(authority.as_str()));
        let headers = headers
            .get_all(header::HOST)
            .iter()
            .map(|host| host.to_str().ok());
        let mut hosts = named.into_iter().chain(headers).peekable();
        hosts.peek().is_some()
            && hosts.all(|host| {
                host.and_then(without_port)
                    .is_some_and(|host| self.names(&host))
            })
    }

    fn names(&self, host: &Host) -> bool {
        let loopback = match host {
            Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                // RFC 6761, 6.3.
                name == "localhost" || name.ends_with(".localhost")
            }
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.to_canonical().is_loopback(),
        };
        let address = self.addresses && !matches!(host, Host::Domain(_));
        loopback || address || self.hosts.contains(host)
    }
}

/// The host of `host[:port]`.
fn without_port(authority: &str) -> Option<Host> {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    parse(host)
}

fn parse(host: &str) -> Option<Host> {
    // The parser would read these as something else than a name.
    if has_empty_label(host) || host.contains(['@', '/', '%', '*', '\\', ' ', '\t']) {
        return None;
    }
    Host::parse(host).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(list: &[&str], beyond: bool) -> AllowedHosts {
        let list: Vec<String> = list.iter().map(|&host| host.to_owned()).collect();
        AllowedHosts::parse(&list, beyond).unwrap()
    }

    fn asks(hosts: &AllowedHosts, target: &'static str, headers: &[&'static str]) -> bool {
        let mut map = HeaderMap::new();
        for host in headers {
            map.append(header::HOST, host.parse().unwrap());
        }
        hosts.admit(&Uri::from_static(target), &map)
    }

    #[test]
    fn only_this_machine_is_answered_for() {
        let hosts = allowed(&[], false);
        for good in [
            "localhost",
            "localhost:5000",
            "LOCALHOST:5000",
            "localhost.",
            "desk.localhost:1",
            "127.0.0.1",
            "127.0.0.1:5000",
            "127.8.9.10",
            "[::1]",
            "[::1]:5000",
            "[::ffff:127.0.0.1]:80",
            "127.0.0.1:",
        ] {
            assert!(asks(&hosts, "/tickets", &[good]), "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:5000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil-localhost",
            "192.168.1.7",
            "0.0.0.0:5000",
            "[::]",
            "[fe80::1]",
            "localhost@evil.example",
            "evil.example@localhost",
            "",
            ":5000",
            "localhost:5000x",
            "localhost/",
            "localhost, evil.example",
            "*",
        ] {
            assert!(!asks(&hosts, "/tickets", &[bad]), "{bad}");
        }
        assert!(!asks(&hosts, "/tickets", &[]), "no host");
        assert!(!asks(&hosts, "/tickets", &["localhost", "evil.example"]));
        assert!(!asks(&hosts, "http://evil.example/tickets", &["localhost"]));
        assert!(!asks(&hosts, "http://localhost/tickets", &["evil.example"]));
        assert!(asks(
            &hosts,
            "http://localhost:5000/tickets",
            &["localhost:5000"]
        ));
    }

    #[test]
    fn others_are_named() {
        let hosts = allowed(
            &[
                "Desk.Example.com",
                " gateway",
                "bücher.example",
                "10.0.0.7",
                "::2",
                "[::3]",
            ],
            false,
        );
        for good in [
            "desk.example.com",
            "DESK.example.com:5000",
            "gateway:5000",
            "xn--bcher-kva.example",
            "10.0.0.7:80",
            "[::2]:80",
            "[0::3]",
            "localhost",
        ] {
            assert!(asks(&hosts, "/", &[good]), "{good}");
        }
        for bad in ["evil.example", "x.desk.example.com", "10.0.0.8"] {
            assert!(!asks(&hosts, "/", &[bad]), "{bad}");
        }
        assert!(asks(&allowed(&["*"], false), "/", &["evil.example"]));
        let beyond = allowed(&[], true);
        assert!(
            asks(&beyond, "/", &["192.168.1.7:5000"]),
            "an address can't be rebound"
        );
        assert!(asks(&beyond, "/", &["[fe80::1]:5000"]));
        assert!(!asks(&beyond, "/", &["evil.example"]));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for bad in [
            "http://a.b",
            "a.b:5000",
            "a b",
            "*.a.b",
            "u@a.b",
            "a.b/",
            "999.1.1.1",
            ".a.b",
            "a..b",
        ] {
            let error = AllowedHosts::parse(&[bad.to_owned()], false).expect_err(bad);
            assert_eq!(error.setting, "ALLOWED_HOSTS", "{bad}");
        }
    }
}
