//! The operators' port: `/livez`, `/readyz`, `/metrics`.

use std::net::SocketAddr;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
    serve::Listener,
};
use serde::Serialize;
use serde_json::json;
use ticket_shared::{
    http::{Exposition, ParseFailures},
    id::Id,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{Health, Part};
use crate::metrics::{Metrics, PartLabel};

#[derive(Clone)]
struct Ops {
    health: Health,
    metrics: Metrics,
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    redis: &'static str,
    mongo: &'static str,
    /// Why a server is down, or what is refused, in words that quote nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What may refuse writes in the database, and what to do about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    obstacles: Vec<String>,
}

/// Answers operators until the process stops.
pub(crate) async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Metrics,
    stopping: CancellationToken,
) {
    let router = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(text))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::map_response(identified))
        .with_state(Ops { health, metrics });
    let served = axum::serve(Explained(listener), router)
        .with_graceful_shutdown(stopping.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(error = %error, "operators' endpoints ended");
    }
}

/// A listener whose connections name what is wrong with requests that can't be parsed.
struct Explained(TcpListener);

impl Listener for Explained {
    type Io = ParseFailures<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        (ParseFailures::new(stream), address)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

async fn unknown_path() -> Response {
    problem(StatusCode::NOT_FOUND, "not_found", "no such path")
}

async fn wrong_method() -> Response {
    problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "the path does not take this method",
    )
}

/// An error as RFC 9457 wants it.
fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = json!({ "title": title, "status": status.as_u16(), "detail": detail, "code": code });
    let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, content_type, body.to_string()).into_response()
}

/// Gives an answer the id of its request.
async fn identified(mut answer: Response) -> Response {
    let id = Id::fresh().map(|id| id.to_string()).unwrap_or_default();
    if let Ok(id) = HeaderValue::from_str(&id) {
        let name = HeaderName::from_static("x-request-id");
        answer.headers_mut().insert(name, id);
    }
    answer
}

/// `GET /readyz`
async fn readyz(State(ops): State<Ops>) -> impl IntoResponse {
    let (redis, mongo) = (ops.health.redis.lately(), ops.health.mongo.lately());
    let word = |up| if up { "up" } else { "down" };
    let refused = ops.health.refusals.reasons();
    let obstacles = ops.health.obstacles().clone();
    let (code, status) = if redis && mongo && refused.is_empty() {
        // It works, perhaps not for everything.
        let ok = if obstacles.is_empty() {
            "ok"
        } else {
            "obstructed"
        };
        (StatusCode::OK, ok)
    } else if ops.metrics.stuck.get() > 0 && !refused.is_empty() {
        (StatusCode::SERVICE_UNAVAILABLE, "stuck")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    };
    let ready = Ready {
        status,
        redis: word(redis),
        mongo: word(mongo),
        reason: ops.health.why(mongo, refused),
        obstacles,
    };
    (code, Json(ready))
}

/// `GET /metrics`, in the format that is asked for.
async fn text(State(ops): State<Ops>, headers: HeaderMap) -> impl IntoResponse {
    let (redis, mongo) = (ops.health.redis.lately(), ops.health.mongo.lately());
    ops.metrics.redis_up.set(redis.into());
    ops.metrics.mongo_up.set(mongo.into());
    let refused = ops.health.refusals.reasons();
    for part in [Part::Redis, Part::Mongo] {
        let label = PartLabel { part: part.name() };
        let is = refused.iter().any(|(of, _)| *of == part);
        ops.metrics.refused.get_or_create(&label).set(is.into());
    }
    let accept = headers.get(header::ACCEPT);
    let format = Exposition::accepted(accept.and_then(|value| value.to_str().ok()));
    let content_type = [(header::CONTENT_TYPE, format.content_type())];
    (content_type, format.of(ops.metrics.text()))
}
