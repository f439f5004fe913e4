//! The gateway: terminates Socket.IO connections of ticket clients, serves REST, appends what happens to the
//! tickets' logs in Redis and follows those logs for the sockets that are in them.
//!
//! It keeps nothing that matters: any gateway can serve any client, and a killed one loses no accepted change.

pub mod access;
pub mod adapter;
pub mod admission;
pub mod allowed_hosts;
pub mod app;
pub mod audit;
pub mod auth;
pub mod check;
pub mod config;
pub mod error;
pub mod identify;
pub mod join_budget;
mod lane;
pub mod mailbox;
pub mod metrics;
pub mod net;
pub mod origin;
pub mod packet;
pub mod part_health;
pub mod presence;
pub mod queue;
pub mod rest;
pub mod script;
pub mod socket;
pub mod store;
pub mod ticket;
pub mod watch;

use std::time::Duration;

use ticket_shared::{
    config::BadSetting,
    id::Id,
    lifecycle::Lifecycle,
    redis::{Entrance, Program},
    telemetry,
};
use tokio::net::TcpListener;

use crate::{app::App, auth::AuthMode, config::Config};

/// Maximum time for requests that have begun when the gateway stops: that of a body, and its answer.
const FINISH: Duration = Duration::from_secs(11);

/// How long tasks may take to end after the last connection is closed.
const GRACE: Duration = Duration::from_secs(5);

/// Why a gateway stopped, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting is wrong.
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// A port can't be listened on.
    #[error("{setting}: can't listen on {address}: {reason}")]
    Listen {
        /// The setting with the port.
        setting: &'static str,
        /// What it says.
        address: String,
        /// What the system says.
        reason: std::io::Error,
    },
    /// A part of the process ended.
    #[error(transparent)]
    Died(#[from] ticket_shared::lifecycle::TaskDied),
    /// The system has no random numbers to give.
    #[error("no random numbers: {0}")]
    Random(#[from] std::io::Error),
    /// The Socket.IO server could not be set up.
    #[error("socket.io: {0}")]
    SocketIo(String),
}

/// Runs a gateway until it is told to stop.
///
/// # Errors
/// [`RunError`]: why it did not start, or which part of it died.
pub async fn run(config: Config, life: Lifecycle) -> Result<(), RunError> {
    let (public, ops) = (
        listen(["HOST", "PORT"], config.bind_host(), config.port).await?,
        listen(
            ["OPS_HOST", "OPS_PORT"],
            config.ops_bind_host(),
            config.ops_port,
        )
        .await?,
    );
    tracing::info!(port = port(&public), ops.port = port(&ops), "listening");
    telemetry::report_suppressed(&life);
    if config.auth.mode == Some(AuthMode::None) {
        tracing::warn!("AUTH_MODE=none: clients are believed whatever they say of themselves");
    }
    let entrance = Entrance::find(&config.common, Program::Gateway, &life).await?;
    let (app, layer) = App::new(&config, entrance, Id::fresh()?, life.clone()).await?;
    socket::listen(app.clone())
        .await
        .map_err(|error| RunError::SocketIo(error.to_string()))?;
    life.spawn_vital("revocations", socket::end_revoked(app.clone()));
    let gate = axum::middleware::from_fn_with_state(app.clone(), rest::gate);
    let preflights = axum::middleware::from_fn_with_state(app.clone(), rest::count_preflight);
    let hosts = axum::middleware::from_fn_with_state(app.clone(), rest::allowed_host);
    let routes = rest::routes(&app)
        .layer(layer)
        .layer(gate)
        .layer(rest::cors(&app))
        .layer(preflights)
        .layer(hosts)
        .layer(axum::middleware::from_fn(rest::one_host))
        .layer(axum::middleware::from_fn(rest::chunked_only))
        .layer(axum::middleware::from_fn(rest::hardened))
        .layer(axum::middleware::from_fn(rest::identify));
    let full = rest::full_routes(&app)
        .layer(rest::cors(&app))
        .layer(axum::middleware::from_fn(rest::identify));
    let door = |listener| net::Door::new(listener, &app.descriptors, config.keep_alive);
    let public = door(public).with_shares(app.admission.counting());
    // Operators are answered to the end.
    let [stop, ops_stop]: [net::ServerStop; 2] = Default::default();
    net::serve("http", public, routes, Some(full), &stop, &life);
    let ops_routes = rest::ops_routes(&app);
    net::serve("ops http", door(ops), ops_routes, None, &ops_stop, &life);
    let stopped = life.until_stopped().await;
    stop.leave();
    ops_stop.leave();
    app.drain(config.drain()).await;
    stop.close(FINISH).await;
    app.close().await;
    life.shutdown(GRACE).await;
    app.follower.unregister().await;
    app.tickets.store().close().await;
    Ok(stopped?)
}

/// Listens; of the two settings, the first has the address.
async fn listen(
    settings: [&'static str; 2],
    host: &str,
    port: u16,
) -> Result<TcpListener, RunError> {
    TcpListener::bind((host, port))
        .await
        .map_err(|reason| RunError::Listen {
            setting: match reason.kind() {
                std::io::ErrorKind::AddrNotAvailable => settings[0],
                _ => settings[1],
            },
            address: format!("{host}:{port}"),
            reason,
        })
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().map_or(0, |address| address.port())
}
