//! What is decided before anything else is done for a request.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::TIMEOUT;
use crate::{
    admission::Account,
    app::App,
    error::{Error, plain_problem},
    net::{HEADER_BYTES, Peer},
};

/// The packet of Engine.IO that says nothing.
const NOOP: &str = "6";

/// Counts requests, and decides who may begin a Socket.IO connection. Refusing here, with an HTTP status, lets the
/// client's own back-off try again; one that is refused later, by the namespace, gives up.
pub async fn gate(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().cloned();
    let client = peer
        .as_ref()
        .map(|peer| app.admission.client(peer.address, request.headers()));
    if let Some(client) = client {
        request.extensions_mut().insert(client);
        // Of a proxy's connection it is known only now whose it is.
        if peer.as_ref().is_some_and(|peer| !peer.counts_for(client.0)) {
            return super::last(app.admission.no_share()).await;
        }
    }
    if header_bytes(&request) > HEADER_BYTES {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return plain_problem(status, "payload_too_large", "the header is over 32 KiB");
    }
    let path = request.uri().path();
    let socket_io = path.starts_with("/socket.io");
    // Counted, but not refused: they touch nothing, and an orchestrator restarts what does not answer.
    let probe = matches!(path, "/livez" | "/readyz");
    let sid = request.uri().query().and_then(sid).map(str::to_owned);
    let known = sid.as_deref().is_some_and(|sid| app.admission.knows(sid));
    // The events of a session are counted by themselves. One that nobody has is as good as none.
    let counted = client.filter(|_| !(socket_io && known));
    if let Some(client) = counted
        && let Err(error) = app.admission.address(client)
        && !probe
    {
        if socket_io {
            app.metrics.refused("address_events");
        }
        return error.into_response();
    }
    if !socket_io {
        // What is only read, browsers keep from the page by themselves.
        if !request.method().is_safe() && !from_known_origin(&app, &request).unwrap_or(true) {
            return foreign_origin(&app);
        }
        return next.run(request).await;
    }
    // Browsers do not apply CORS to websockets. Clients that are no browsers send no origin.
    let unnamed = !app.admission.limits().origin_required;
    if !from_known_origin(&app, &request).unwrap_or(unnamed) {
        return foreign_origin(&app);
    }
    if sid.is_none() {
        if app.draining() {
            return Error::Overloaded("this server is about to stop").into_response();
        }
        if !app.follower.heard_once() {
            return app.admission.not_ready_yet();
        }
        let mut place = None;
        if let Some(client) = client {
            match app.admission.enter(client) {
                Ok(taken) => place = Some(taken),
                Err(refusal) => return refusal,
            }
        }
        // The engine keeps the request for as long as the session lasts.
        let account = Account::new(&app.admission, client, place, &app.life);
        let observer: engineioxide::Account = account.clone();
        request.extensions_mut().insert(account);
        request.extensions_mut().insert(observer);
        return next.run(lean(request)).await;
    }
    let answer = match peer.filter(|_| request.method() == Method::GET) {
        Some(peer) => polled(&peer, request, next).await,
        None => in_time(request, next).await,
    };
    let stays = || {
        sid.as_deref()
            .is_some_and(|sid| known && app.admission.knows(sid))
    };
    // A request that fails carries nothing that its session could be counted for.
    if let Some(client) = client
        && answer.status().is_client_error()
        && stays()
        && let Err(error) = app.admission.address(client)
    {
        return error.into_response();
    }
    answer
}

/// Answers a poll; with nothing once its client has closed its side. It may be gone, and packets must not be given to a
/// connection that nobody reads, or it may wait for an answer, and polls again.
async fn polled(peer: &Peer, request: Request, next: Next) -> Response {
    tokio::select! {
        biased;
        answer = next.run(request) => answer,
        () = peer.wire.ended() => {
            let text = HeaderValue::from_static("text/plain; charset=UTF-8");
            ([(header::CONTENT_TYPE, text)], NOOP).into_response()
        }
    }
}

/// The bytes of the request's header, about as they came. The HTTP server bounds the buffer that it reads into, which
/// holds up to twice as much.
fn header_bytes(request: &Request) -> usize {
    let target = request.uri().path_and_query();
    let lines = request.headers().iter();
    lines
        .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len())
        .fold(
            target.map_or(0, |target| target.as_str().len()),
            |all, line| all + line,
        )
}

/// Whether the request's origin may connect and change something; `None` if it names none.
fn from_known_origin(app: &App, request: &Request) -> Option<bool> {
    let peer = request.extensions().get::<Peer>();
    let behind_proxy = peer.is_some_and(|peer| app.admission.trusts(peer.address));
    app.origins.admit(request.headers(), behind_proxy)
}

fn foreign_origin(app: &App) -> Response {
    app.metrics.refused("origin");
    tracing::debug!("request from a foreign origin refused");
    Error::Forbidden("the origin is not allowed").into_response()
}

/// Answers, unless what a client posts does not come: whoever sends half a body would hold the connection for ever.
async fn in_time(request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let answered = tokio::time::timeout(TIMEOUT, next.run(request)).await;
    answered.unwrap_or_else(|_| {
        let detail = "the body did not come in time";
        plain_problem(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
    })
}

/// The headers that a session's first request is still asked for: by the library when it upgrades, by us for a
/// token.
const NEEDED: [HeaderName; 9] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_VERSION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The request with nothing in it that is not needed. The library keeps it for as long as the session lasts, and
/// what it holds are views of the 8 KiB that it was read into: copied, those are freed.
fn lean(mut request: Request) -> Request {
    let mut needed = HeaderMap::with_capacity(NEEDED.len());
    for name in NEEDED {
        for value in request.headers().get_all(&name) {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                needed.append(name.clone(), value);
            }
        }
    }
    *request.headers_mut() = needed;
    if let Ok(uri) = request.uri().to_string().parse() {
        *request.uri_mut() = uri;
    }
    request
}

fn sid(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("sid="))
}

#[cfg(test)]
mod tests {
    use super::sid;

    #[test]
    fn the_session_is_found_by_its_whole_name() {
        assert_eq!(sid("EIO=4&transport=polling&sid=abc"), Some("abc"));
        assert_eq!(sid("EIO=4&transport=polling"), None);
        assert_eq!(sid("EIO=4&nosid=abc"), None);
    }
}
