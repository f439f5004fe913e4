//! One HTTP connection, from its first byte to its end or its upgrade.

use std::{convert::Infallible, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{HttpService, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use ticket_shared::lifecycle::Lifecycle;

use super::{
    HEADER_BYTES, Peer, ServerStop, Wire, WireState,
    body::RequestBody,
    kept::{Kept, Over, Use},
};

/// Interval at which a connection is looked at while the server closes.
const LOOK: Duration = Duration::from_millis(20);
/// Maximum time for a client to read that its header did not come in time.
const TIMING_OUT: Duration = Duration::from_secs(1);

/// State that all connections of one server share.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) routes: Router,
    pub(super) life: Lifecycle,
    pub(super) stop: ServerStop,
    /// Maximum time that a connection is kept without a request.
    pub(super) keep: Duration,
}

/// Serves one connection to its end, or until it is upgraded.
pub(super) async fn connection(wire: Wire, peer: Peer, serving: Serving) {
    let Serving {
        routes,
        life,
        stop,
        keep,
    } = serving;
    let begun = stop.begun();
    let state = Arc::clone(&peer.wire);
    let kept = Arc::new(Kept::new(Arc::clone(&state)));
    let routes = TowerToHyperService::new(routes);
    let (own, counting, leaving) = (life.clone(), Arc::clone(&kept), stop.clone());
    let service =
        service_fn(move |request| answer(&routes, request, &peer, &counting, &own, &leaving));
    let mut served = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(HEADER_BYTES)
            .serve_connection(TokioIo::new(wire), service)
            .with_upgrades()
    );
    let ended = tokio::select! {
        ended = served.as_mut() => Some(ended),
        over = kept.over(keep) => {
            if over == Over::HalfHeader {
                state.time_out();
                // Whoever does not read is not waited for.
                let _ = tokio::time::timeout(TIMING_OUT, served).await;
            }
            None
        }
        () = stop.closing().cancelled() => tokio::select! {
            ended = finish(served.as_mut(), &kept, begun) => Some(ended),
            // It had its time, but for polls: those are answered by the end of their session.
            () = life.stopping().cancelled() => match kept.now() {
                Use::Poll | Use::Idle => Some(end(served).await),
                Use::Request => None,
            }
        },
        () = life.stopping().cancelled() => Some(end(served).await),
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(
            error.timeout = error.is_timeout(),
            "connection ended by an error"
        );
    }
}

/// The future of a connection.
type Served<'a, S> = Pin<&'a mut http1::UpgradeableConnection<TokioIo<Wire>, S>>;

/// Ends a connection once what has begun over it is answered. `begun` is given back when nothing of it is waited for.
async fn finish<S>(mut served: Served<'_, S>, kept: &Kept, begun: impl Send) -> hyper::Result<()>
where
    S: HttpService<Incoming, ResBody = axum::body::Body, Error = Infallible> + Send,
    S::Future: Send,
{
    let mut begun = Some(begun);
    loop {
        match kept.now() {
            Use::Idle => return end(served).await,
            Use::Poll => begun = None,
            Use::Request => {}
        }
        tokio::select! {
            ended = served.as_mut() => {
                drop(begun);
                return ended;
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Ends a connection after the answer that is on its way.
async fn end<S>(mut served: Served<'_, S>) -> hyper::Result<()>
where
    S: HttpService<Incoming, ResBody = axum::body::Body, Error = Infallible> + Send,
    S::Future: Send,
{
    served.as_mut().graceful_shutdown();
    served.await
}

/// Answers one request, and sees to what it leaves of the connection.
fn answer(
    routes: &TowerToHyperService<Router>,
    request: Request<Incoming>,
    peer: &Peer,
    kept: &Arc<Kept>,
    life: &Lifecycle,
    stop: &ServerStop,
) -> impl Future<Output = Result<Response, Infallible>> + use<> {
    let polls = request.uri().path().starts_with("/socket.io");
    kept.asked(polls && request.method() == hyper::Method::GET);
    let seat = peer.seat.clone();
    if let Some(seat) = seat.upgrade() {
        seat.busy();
    }
    let waits_for_continue = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let wire = Arc::clone(&peer.wire);
    let (body, rest) = RequestBody::new(body, Arc::clone(&wire));
    let mut request = Request::from_parts(parts, body);
    request.extensions_mut().insert(peer.clone());
    let answered = hyper::service::Service::call(routes, request);
    let (kept, life, stop) = (Arc::clone(kept), life.clone(), stop.clone());
    async move {
        let mut answer = answered.await?;
        let (left, closes) = rest.answered(waits_for_continue);
        if let Some(left) = left {
            let wire = Arc::clone(&wire);
            life.spawn(async move {
                left.await;
                // That was no request.
                wire.forget_read();
            });
        }
        let upgraded = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        let half_closed = half_closed(&wire, upgraded);
        if (closes || half_closed || stop.leaving()) && !upgraded {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
        }
        kept.answered();
        // A websocket is in use as long as it is open.
        if !upgraded && let Some(seat) = seat.upgrade() {
            seat.idle();
        }
        Ok(answer)
    }
}

/// Returns whether the client has closed its side after its request; tells it from now on otherwise.
fn half_closed(wire: &WireState, upgraded: bool) -> bool {
    let seen = wire.end_seen();
    if !seen || upgraded {
        wire.tell_end();
    }
    seen
}
