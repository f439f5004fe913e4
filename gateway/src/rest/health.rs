//! How the gateway is: for people, for load balancers, for Prometheus.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use ticket_shared::http::Exposition;

use crate::app::App;

/// `GET /health`: whether everything that a gateway depends on answers.
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let health = app.health().await;
    let word = |up: bool| if up { "up" } else { "down" };
    let fine = health.redis && health.mongo;
    let body = json!({
        "status": if fine { "ok" } else { "degraded" },
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeSeconds": app.uptime().as_secs(),
        "redis": word(health.redis),
        "mongo": word(health.mongo),
    });
    (
        if fine {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        Json(body),
    )
        .into_response()
}

/// `GET /livez`: the process answers. It touches nothing outside: a restart would not mend what is there.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz` for everybody: whether clients should be sent here, and no more.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Response {
    let ready = app.ready();
    (readiness(ready), Json(json!({ "ready": ready }))).into_response()
}

/// `GET /readyz` for operators: that, and what is wrong.
pub(super) async fn readyz_in_detail(State(app): State<Arc<App>>) -> Response {
    let ready = app.ready();
    let body = json!({ "ready": ready, "draining": app.draining(), "hearsRedis": app.follower.hears(), "warnings": app.watch.warnings(), "reasons": app.reasons() });
    (readiness(ready), Json(body)).into_response()
}

fn readiness(ready: bool) -> StatusCode {
    if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// `GET /metrics`, in the format that is asked for.
pub(super) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT);
    let format = Exposition::accepted(accept.and_then(|value| value.to_str().ok()));
    let content_type = [(header::CONTENT_TYPE, format.content_type())];
    (content_type, format.of(app.metrics_text())).into_response()
}
