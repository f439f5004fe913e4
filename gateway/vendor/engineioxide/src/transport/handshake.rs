//! The request that opens a websocket: what RFC 6455 (4.2.1) demands of it.
//!
//! A request that does not meet it is refused. With a 101 its client would wait in silence for something that no
//! proxy on the way lets through, instead of trying another transport.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::errors::Error;

/// The answer to a websocket handshake.
#[derive(Debug)]
pub(super) struct Handshake {
    /// The proof that the handshake was understood.
    pub(super) accept: HeaderValue,
    /// The subprotocol: the first that the client names, as the JavaScript server chooses.
    pub(super) protocol: Option<HeaderValue>,
}

impl Handshake {
    pub(super) fn of<B>(req: &Request<B>) -> Result<Self, Error> {
        let headers = req.headers();
        if req.method() != Method::GET
            || req.version() != Version::HTTP_11
            || !names(headers, header::UPGRADE, "websocket")
            || !names(headers, header::CONNECTION, "upgrade")
            || has_body(headers)
        {
            return Err(Error::NoWebSocketHandshake);
        }
        if !once(headers, header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13") {
            return Err(Error::WebSocketVersion);
        }
        let key = once(headers, header::SEC_WEBSOCKET_KEY)
            .map(HeaderValue::as_bytes)
            .filter(|key| is_key(key))
            .ok_or(Error::NoWebSocketHandshake)?;
        let accept = derive_accept_key(key)
            .parse()
            .map_err(|_| Error::NoWebSocketHandshake)?;
        let protocol = tokens(headers, header::SEC_WEBSOCKET_PROTOCOL)
            .find(|protocol| is_token(protocol))
            .and_then(|protocol| protocol.parse().ok());
        Ok(Self { accept, protocol })
    }
}

/// The parts of a list that may be spread over several headers.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

fn names(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

/// Returns `true` if something follows the header: the connection could be a websocket's only after it, which nobody reads.
fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers
            .get_all(header::CONTENT_LENGTH)
            .into_iter()
            .any(|length| length != "0")
}

/// Returns `true` for a token of RFC 9110 (5.6.2), as the name of a subprotocol must be.
fn is_token(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The value of a header that must not be there twice.
fn once(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether it is the base64 of 16 bytes.
fn is_key(key: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key[..22].iter().all(digit) && &key[22..] == b"=="
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    /// A good handshake with these headers instead of those of the same name.
    fn request(changed: &[(&str, &str)]) -> Request<()> {
        let mut req = Request::get("/");
        let kept = GOOD
            .iter()
            .filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
        for (name, value) in kept.chain(changed.iter().filter(|(_, value)| *value != "-")) {
            req = req.header(*name, *value);
        }
        req.body(()).unwrap()
    }

    fn status(changed: &[(&str, &str)]) -> u16 {
        match Handshake::of(&request(changed)) {
            Ok(_) => 101,
            Err(e) => {
                let res: http::Response<crate::body::ResponseBody<()>> = e.into();
                let version = res.headers().get("sec-websocket-version");
                assert_eq!(version.is_some(), res.status() == 426);
                res.status().as_u16()
            }
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let handshake = Handshake::of(&request(&[])).unwrap();
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(handshake.protocol.is_none());
    }

    #[test]
    fn headers_are_lists_without_case() {
        assert_eq!(status(&[("upgrade", "h2c, WebSocket")]), 101);
        assert_eq!(status(&[("connection", "keep-alive, UPGRADE")]), 101);
        let spread = [("connection", "keep-alive"), ("connection", "upgrade")];
        assert_eq!(status(&spread), 101);
        assert_eq!(status(&[("content-length", "0")]), 101);
    }

    #[test]
    fn everything_else_is_refused() {
        for (changed, expected) in [
            (&[("upgrade", "-")][..], 400),
            (&[("upgrade", "h2c")], 400),
            (&[("upgrade", "websocketx")], 400),
            (&[("connection", "-")], 400),
            (&[("connection", "close")], 400),
            (&[("sec-websocket-key", "-")], 400),
            (&[("sec-websocket-key", "")], 400),
            (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ")], 400),
            (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ!=")], 400),
            (&[("content-length", "5")], 400),
            (&[("content-length", "0"), ("content-length", "5")], 400),
            (&[("transfer-encoding", "chunked")], 400),
            (&[("sec-websocket-version", "-")], 426),
            (&[("sec-websocket-version", "99")], 426),
            (&[("sec-websocket-version", "8")], 426),
            (&[("sec-websocket-version", "13, 8")], 426),
        ] {
            assert_eq!(status(changed), expected, "{changed:?}");
        }
        let mut old = request(&[]);
        *old.version_mut() = Version::HTTP_10;
        assert!(Handshake::of(&old).is_err());
        let mut post = request(&[]);
        *post.method_mut() = Method::POST;
        assert!(Handshake::of(&post).is_err());
    }

    #[test]
    fn the_first_subprotocol_is_chosen() {
        for (offered, chosen) in [
            ("a", "a"),
            ("b, a", "b"),
            (" , c", "c"),
            ("\"a b\", d", "d"),
            ("e f,v1.g", "v1.g"),
        ] {
            let req = request(&[("sec-websocket-protocol", offered)]);
            assert_eq!(Handshake::of(&req).unwrap().protocol.unwrap(), chosen);
        }
    }
}
