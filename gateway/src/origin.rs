//! Origins of browser pages (RFC 6454): which of them may connect, and change something.
//!
//! Both sides of a comparison are normalised as browsers do it (WHATWG URL): letter case, default ports, international
//! names, forms of addresses.

use std::{collections::HashSet, sync::Arc};

use axum::http::{HeaderMap, HeaderValue, header};
use ticket_shared::config::BadSetting;
use url::Url;

/// The header in which a proxy keeps the `Host` that it was asked for.
const FORWARDED_HOST: &str = "x-forwarded-host";

/// An origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Origin {
    /// `null`: a page without one, such as a file or a sandboxed frame.
    Opaque,
    /// A scheme, a host and a port that is not the scheme's own.
    Tuple(String, String, Option<u16>),
}

impl Origin {
    /// Reads an origin.
    ///
    /// # Errors
    /// A description of the fault, which never repeats the text.
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "null" {
            return Ok(Self::Opaque);
        }
        let Some((_, authority)) = text.split_once("://") else {
            return Err("has no scheme");
        };
        // Before the URL is read: its parser takes, mends and removes all of these.
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err("has a character that no origin has");
        }
        if authority.contains(['/', '?', '#']) {
            return Err("has a path; an origin ends with its host or port");
        }
        if authority.contains('@') {
            return Err("has a user name");
        }
        if authority.contains('*') {
            return Err("has a wildcard; each origin is exact");
        }
        let url = Url::parse(text).map_err(|_| "is no scheme://host[:port]")?;
        if url.port() == Some(0) || url.host_str().is_some_and(has_empty_label) {
            return Err("has a host or port that nothing can have");
        }
        match url.host_str().map(str::to_ascii_lowercase) {
            _ if url.scheme() == "file" => Err("is of files, whose origin is null"),
            Some(host) if !host.is_empty() => {
                Ok(Self::Tuple(url.scheme().into(), host, url.port()))
            }
            _ => Err("has no host"),
        }
    }

    /// Whether a request to `authority` comes from a page of the same host and port. The scheme does not count: a
    /// proxy may have ended TLS. Clients that are no browsers name the one of websockets.
    fn is_of(&self, authority: &str) -> bool {
        let Self::Tuple(scheme, host, port) = self else {
            return false;
        };
        let scheme = match scheme.as_str() {
            "http" | "ws" => "http",
            "https" | "wss" => "https",
            _ => return false,
        };
        // A port that the scheme of the origin has by default may be named, or not.
        let asked = Self::parse(&format!("{scheme}://{authority}"));
        asked == Ok(Self::Tuple(scheme.into(), host.clone(), *port))
    }
}

/// The origins of `CORS_ORIGIN`. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct AllowedOrigins(Arc<HashSet<Origin>>);

impl AllowedOrigins {
    /// Reads the setting.
    ///
    /// # Errors
    /// Names `CORS_ORIGIN` if an origin of it could never match.
    pub fn parse(list: &[String]) -> Result<Self, BadSetting> {
        let origins = list.iter().map(|origin| {
            Origin::parse(origin.trim()).map_err(|fault| {
                let problem = format!(
                    "an origin {fault}; give origins such as https://desk.example.com or \
                     capacitor://localhost, separated by commas"
                );
                BadSetting::new("CORS_ORIGIN", problem)
            })
        });
        Ok(Self(Arc::new(origins.collect::<Result<_, _>>()?)))
    }

    /// Whether the setting names this origin.
    pub fn names(&self, origin: &HeaderValue) -> bool {
        read(origin).is_some_and(|origin| self.0.contains(&origin))
    }

    /// Whether a request with these headers is from an origin of the setting, or from the host that it goes to; `None`
    /// if it names no origin, as clients that are no browsers do. `behind_proxy`: a proxy that is trusted sent it.
    pub fn admit(&self, headers: &HeaderMap, behind_proxy: bool) -> Option<bool> {
        let mut origins = headers.get_all(header::ORIGIN).iter().peekable();
        origins.peek()?;
        // More than one: each must be right, since there is no telling which one others believe.
        Some(origins.all(|origin| {
            read(origin).is_some_and(|origin| {
                self.0.contains(&origin) || is_own(&origin, headers, behind_proxy)
            })
        }))
    }
}

/// Whether a name has two dots in a row, or one at its beginning; one at its end is the root.
pub(crate) fn has_empty_label(name: &str) -> bool {
    name.starts_with('.') || name.contains("..")
}

fn read(origin: &HeaderValue) -> Option<Origin> {
    Origin::parse(origin.to_str().ok()?).ok()
}

fn is_own(origin: &Origin, headers: &HeaderMap, behind_proxy: bool) -> bool {
    let texts = |name| {
        let values = headers.get_all(name).iter();
        values.filter_map(|value: &HeaderValue| value.to_str().ok())
    };
    // Pages can't send this header to a foreign host without a preflight that permits it.
    let forwarded = texts(FORWARDED_HOST).flat_map(|hosts| hosts.split(','));
    texts(header::HOST.as_str()).any(|host| origin.is_of(host))
        || behind_proxy && forwarded.map(str::trim).any(|host| origin.is_of(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(list: &str) -> Result<AllowedOrigins, BadSetting> {
        let list: Vec<String> = list.split(',').map(str::to_owned).collect();
        AllowedOrigins::parse(&list)
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (name.parse().unwrap(), HeaderValue::from_static(value))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            let _: bool = headers.append::<axum::http::HeaderName>(name, value);
        }
        headers
    }

    #[test]
    fn origins_match_as_browsers_write_them() {
        for (set, sent) in [
            ("https://EXAMPLE.com", "https://example.com"),
            ("HTTPS://a.b:443", "https://a.b"),
            ("http://a.b:80", "http://a.b"),
            ("https://a.b:", "https://a.b"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            (
                "https://xn--bcher-kva.example",
                "https://xn--bcher-kva.example",
            ),
            ("http://[0:0::1]:3000", "http://[::1]:3000"),
            ("http://0x7f.1:3000", "http://127.0.0.1:3000"),
            (" https://a.b ", "https://a.b"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("ionic://LocalHost", "ionic://localhost"),
            ("tauri://localhost", "tauri://localhost"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
            ("app://desk:81", "app://desk:81"),
            ("null", "null"),
            // Clients that are no browsers do not normalise.
            ("https://a.b", "https://A.b:443"),
            ("https://a.b,http://c.d", "http://c.d"),
        ] {
            let origins = allowed(set).unwrap_or_else(|error| panic!("{set}: {error}"));
            assert!(
                origins.names(&HeaderValue::from_static(sent)),
                "{set} {sent}"
            );
            assert_eq!(
                origins.admit(&headers(&[("origin", sent)]), false),
                Some(true),
                "{set}"
            );
        }
        let origins = allowed("https://a.b,capacitor://localhost").unwrap();
        for sent in [
            "http://a.b",
            "https://a.b:8443",
            "https://x.a.b",
            "https://a.b.",
            "https://a.b.evil.example",
            "https://a.b/",
            "https://evil.example@a.b",
            "https://a.b https://a.b",
            "ionic://localhost",
            "capacitor://localhost:1",
            "null",
            "",
        ] {
            let value = HeaderValue::from_static(sent);
            assert!(!origins.names(&value), "{sent}");
            assert_eq!(
                origins.admit(&headers(&[("origin", sent)]), false),
                Some(false),
                "{sent}"
            );
        }
    }

    #[test]
    fn origins_that_could_never_match_are_refused() {
        for bad in [
            "",
            "*",
            "localhost:3000",
            "a.b",
            "https://*.b",
            "https://a.b/",
            "https://a.b/x",
            "https://a.b?x",
            "https://a.b#x",
            "https://u@a.b",
            "https://",
            "https:a.b",
            "https:/a.b",
            "https:\\\\a.b",
            "https://a b",
            "https://a\tb",
            "https://a.b:99999",
            "https://a.b:x",
            "https://[::1",
            "https://999.1.1.1",
            "file:///x",
            "file://host",
            "://a.b",
            "NULL",
            "1x://a.b",
            "https://a.b,",
            "tauri://",
            "https://a.b:0",
            "https://.b",
            "https://a..b",
            "tauri://a..b",
        ] {
            let error = allowed(bad).expect_err(bad);
            assert_eq!(error.setting, "CORS_ORIGIN", "{bad}");
        }
        let error = allowed("https://user:canary@a.b").unwrap_err().to_string();
        assert!(!error.contains("canary"), "{error}");
    }

    #[test]
    fn the_requests_own_host_is_no_foreign_origin() {
        let origins = AllowedOrigins::default();
        for (origin, host) in [
            ("http://localhost:5000", "localhost:5000"),
            ("http://a.b", "a.b"),
            ("http://a.b", "a.b:80"),
            ("http://a.b:80", "a.b"),
            // TLS ended at a proxy.
            ("https://a.b", "a.b"),
            ("https://a.b", "A.B:443"),
            ("https://a.b:443", "a.b"),
            ("https://a.b:8443", "a.b:8443"),
            ("http://[::1]:5000", "[::1]:5000"),
            ("http://[::1]:5000", "[0:0:0::1]:5000"),
            ("https://[::1]", "[::1]:443"),
            ("https://xn--bcher-kva.example", "xn--bcher-kva.example"),
            // Clients that are no browsers.
            ("ws://a.b:5000", "a.b:5000"),
            ("wss://a.b", "a.b"),
        ] {
            let given = headers(&[("origin", origin), ("host", host)]);
            assert_eq!(origins.admit(&given, false), Some(true), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://a.b", "a.b:5000"),
            ("http://a.b:5000", "a.b"),
            ("https://a.b", "a.b:80"),
            ("http://evil.example", "a.b"),
            ("http://a.b.evil.example", "a.b"),
            ("null", "null"),
            ("capacitor://a.b", "a.b"),
            ("http://a.b", "a.b/"),
            ("http://a.b", "x@a.b"),
            ("http://a.b", ""),
        ] {
            let given = headers(&[("origin", origin), ("host", host)]);
            assert_eq!(origins.admit(&given, false), Some(false), "{origin} {host}");
        }
        assert_eq!(origins.admit(&headers(&[("host", "a.b")]), false), None);
        let two = [
            ("origin", "http://a.b"),
            ("origin", "http://evil.example"),
            ("host", "a.b"),
        ];
        assert_eq!(origins.admit(&headers(&two), false), Some(false));
    }

    #[test]
    fn the_host_that_a_trusted_proxy_was_asked_for_counts() {
        let origins = AllowedOrigins::default();
        for (forwarded, admitted) in [("a.b", true), ("x, a.b", true), ("evil.example", false)] {
            let mut given = headers(&[("origin", "https://a.b"), ("host", "gateways")]);
            given.insert(FORWARDED_HOST, forwarded.parse().unwrap());
            assert_eq!(origins.admit(&given, true), Some(admitted), "{forwarded}");
            assert_eq!(origins.admit(&given, false), Some(false), "{forwarded}");
        }
    }
}
