//! What HTTP itself asks for, whatever a request is about.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, Version, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{app::App, error::Error, net::Peer};

/// Refuses requests that name no host, several, or something that is none (RFC 9112, 3.2).
pub async fn one_host(request: Request, next: Next) -> Response {
    if names_one_host(&request) {
        return next.run(request).await;
    }
    Error::Malformed("the header Host must name one host").into_response()
}

fn names_one_host<B>(request: &axum::http::Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        // Before HTTP/1.1 there was no such header.
        return request.version() < Version::HTTP_11;
    };
    let is_host = |text: &str| {
        let authority = text.parse::<Authority>();
        authority.is_ok_and(|authority| !authority.host().is_empty() && !text.contains(['@', ',']))
    };
    hosts.next().is_none() && host.to_str().is_ok_and(is_host)
}

/// Refuses bodies in another transfer coding than `chunked` (RFC 9112, 6.1): they would be taken for what they are not.
pub async fn chunked_only(request: Request, next: Next) -> Response {
    if is_chunked_only(request.headers()) {
        return next.run(request).await;
    }
    let refusal = Error::Malformed("the only transfer coding is chunked, once");
    super::last(refusal.into_response()).await
}

fn is_chunked_only(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let first = codings.next();
    let chunked = |coding: &HeaderValue| {
        coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    };
    first.is_none_or(chunked) && codings.next().is_none()
}

/// Counts what is answered before it reaches the gate: a page's question whether it may ask.
pub async fn count_preflight(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() == Method::OPTIONS
        && let Some(peer) = request.extensions().get::<Peer>()
    {
        let client = app.admission.client(peer.address, request.headers());
        if let Err(error) = app.admission.address(client) {
            return error.into_response();
        }
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_transfer_coding_is_known() {
        let known = |codings: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for coding in codings {
                headers.append(header::TRANSFER_ENCODING, HeaderValue::from_static(coding));
            }
            is_chunked_only(&headers)
        };
        assert!(known(&[]) && known(&["chunked"]) && known(&["Chunked "]));
        for bad in [
            &["gzip, chunked"][..],
            &["chunked, chunked"],
            &["gzip", "chunked"],
            &[""],
        ] {
            assert!(!known(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let named = |hosts: &[&str], version| {
            let mut request = axum::http::Request::builder().version(version);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            names_one_host(&request.body(()).unwrap())
        };
        for good in ["localhost", "a.b:5000", "127.0.0.1:80", "[::1]:5000"] {
            assert!(named(&[good], Version::HTTP_11), "{good}");
        }
        for bad in ["", "a b", "a/b", "u@a", "a,b", "http://a", ":80"] {
            assert!(!named(&[bad], Version::HTTP_11), "{bad}");
        }
        assert!(!named(&["a", "a"], Version::HTTP_11));
        assert!(!named(&[], Version::HTTP_11));
        assert!(named(&[], Version::HTTP_10));
    }
}
