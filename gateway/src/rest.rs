//! REST: the table of routes, and what stands around all of them.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use ticket_shared::id::Id;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
    normalize_path::NormalizePath,
};

mod admin;
mod coding;
mod edge;
mod gate;
mod hardened;
mod health;
mod input;
mod messages;
mod tickets;

pub use edge::{chunked_only, count_preflight, one_host};
pub use gate::gate;
pub use hardened::hardened;

use crate::{
    app::App,
    error::{Error, plain_problem},
    net::Peer,
};

/// The longest that a request may take, and the body of one that Socket.IO reads.
const TIMEOUT: Duration = Duration::from_secs(15);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The routes that clients use, without the headers of [`hardened`]: those stand around Socket.IO, too.
pub fn routes(app: &Arc<App>) -> Router {
    let routes = Router::new()
        .route("/health", get(health::health))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/admin/revoke", post(admin::revoke))
        .route("/tickets", get(tickets::list).post(tickets::create))
        .route("/tickets/stats/counts", get(tickets::counts))
        .route("/tickets/{id}", get(tickets::show))
        .route("/tickets/{id}/messages", get(messages::list))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(app));
    // A path with a slash at its end is the same one, as it was for the former server. Before the table is looked at.
    Router::new().fallback_service(NormalizePath::trim_trailing_slash(around(routes)))
}

/// The routes that operators and their tools use.
pub fn ops_routes(app: &Arc<App>) -> Router {
    let routes = Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz_in_detail))
        .route("/metrics", get(health::metrics))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(app));
    around(routes)
        .layer(middleware::from_fn_with_state(
            Arc::clone(app),
            allowed_host,
        ))
        .layer(middleware::from_fn(hardened))
        .layer(middleware::from_fn(identify))
}

/// What is served to clients for whom no file descriptor is left: that there is no place, and whether it is alive.
pub fn full_routes(app: &Arc<App>) -> Router {
    let routes = Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .fallback(no_place)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(app))
        .layer(middleware::map_response(last));
    around(routes)
}

/// Lets pages of the allowed origins read answers, and send what is not simple.
pub fn cors(app: &App) -> CorsLayer {
    let origins = app.origins.clone();
    let named = move |origin: &HeaderValue, _: &Parts| origins.names(origin);
    let mut headers = vec![
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::AUTHORIZATION,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        HeaderName::from_static("idempotency-key"),
        HeaderName::from_static("traceparent"),
        REQUEST_ID,
    ];
    headers.extend(app.cors_headers.iter().cloned());
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(named))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::PUT])
        .allow_headers(headers)
        .expose_headers([
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            REQUEST_ID,
        ])
        .max_age(Duration::from_mins(10))
}

/// Answers only for the hosts that requests may be for.
pub async fn allowed_host(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let admitted = app
        .hosts
        .as_ref()
        .is_none_or(|hosts| hosts.admit(request.uri(), request.headers()));
    if admitted {
        return next.run(request).await;
    }
    app.metrics.refused("host");
    Error::Forbidden("the request is for a host that is not in ALLOWED_HOSTS").into_response()
}

fn around(routes: Router) -> Router {
    routes
        .layer(CatchPanicLayer::custom(
            |_: Box<dyn std::any::Any + Send>| {
                Error::Internal("the handler panicked".into()).into_response()
            },
        ))
        .layer(middleware::from_fn(bounded))
}

/// Gives every request an id, or keeps the caller's where it is a plain one; logs refer to it.
pub async fn identify(request: Request, next: Next) -> Response {
    use tracing::Instrument;
    let given = request
        .headers()
        .get(&REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    let plain =
        |id: &&str| !id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_graphic());
    let id = match given.filter(plain) {
        Some(id) => id.to_owned(),
        None => Id::fresh().map(|id| id.to_string()).unwrap_or_default(),
    };
    let path = request.uri().path().to_owned();
    let span = tracing::info_span!("request", request.id = %id, http.method = %request.method(), http.path = %path);
    let mut response = next.run(request).instrument(span).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Answers before the caller gives up.
async fn bounded(request: Request, next: Next) -> Response {
    match tokio::time::timeout(TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Error::Unavailable {
            part: "server",
            reason: "the request took too long".into(),
        }
        .into_response(),
    }
}

async fn no_place(State(app): State<Arc<App>>, request: Request) -> Response {
    let peer = request.extensions().get::<Peer>();
    if peer.is_some_and(Peer::crowded) {
        return app.admission.no_share();
    }
    app.admission.no_descriptors()
}

/// Nothing more comes over this connection.
async fn last(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

async fn unknown_path() -> Response {
    plain_problem(StatusCode::NOT_FOUND, "not_found", "no such path")
}

async fn wrong_method() -> Response {
    plain_problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "the path does not take this method",
    )
}
