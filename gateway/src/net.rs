//! Listening: accepted connections get the TCP options that Socket.IO needs, a header that does not come ends
//! them, and a stop ends the listening at once but lets requests finish.

use std::{convert::Infallible, io, net::IpAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::SockRef;
use ticket_shared::lifecycle::Lifecycle;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

mod descriptors;
mod wire;

pub use descriptors::Descriptors;
pub use wire::{Wire, WireState};

/// After this long without an answer to what was sent, a connection is dead.
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the header of a request may take, and how long a connection may be kept without one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);
/// How many bytes the header of a request may have.
const HEADER_BYTES: usize = 32 * 1024;
/// How long accepting pauses where the process or the system has no file descriptors left.
const PAUSE: Duration = Duration::from_secs(1);
/// How many clients at once are told that there is no place for them, with the descriptors that are kept back.
const TURNED_AWAY: usize = 16;
/// How long that may take each.
const TELLING: Duration = Duration::from_secs(1);

/// Whose connection a request came over. An extension of every request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The other end.
    pub address: IpAddr,
    /// The connection.
    pub wire: Arc<WireState>,
}

/// Accepts connections.
pub(crate) struct Door {
    listener: TcpListener,
    descriptors: Arc<Descriptors>,
}

/// Somebody at the door.
struct Visitor {
    stream: TcpStream,
    address: IpAddr,
    /// What this connection takes up should be left to others than clients.
    last: bool,
}

impl Door {
    pub(crate) fn new(listener: TcpListener, descriptors: &Arc<Descriptors>) -> Self {
        Self {
            listener,
            descriptors: Arc::clone(descriptors),
        }
    }

    async fn accept(&self) -> Visitor {
        loop {
            let error = match self.listener.accept().await {
                Ok((stream, address)) => {
                    tune(&stream);
                    let last = self.descriptors.keeps_back(&stream);
                    if last {
                        self.descriptors.ran_out();
                    }
                    let address = address.ip();
                    return Visitor {
                        stream,
                        address,
                        last,
                    };
                }
                Err(error) => error,
            };
            if is_exhausted(&error) {
                self.descriptors.ran_out();
            } else if is_own_trouble(&error) {
                continue;
            }
            // Whatever else it is, it may last: no memory for another connection, for one.
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The connection was gone before it was accepted; the next one need not wait.
fn is_own_trouble(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// `EMFILE` and `ENFILE`.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let tuned = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_user_timeout(Some(USER_TIMEOUT)));
    if let Err(error) = tuned {
        tracing::debug!(error.kind = %error.kind(), "connection without its options");
    }
}

/// Serves `routes` until the process stops; and `full`, briefly, to whom no file descriptor is left for. Without
/// that they are served as all others.
pub(crate) fn serve(
    name: &'static str,
    door: Door,
    routes: Router,
    full: Option<Router>,
    life: &Lifecycle,
) {
    let own = life.clone();
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY));
    life.spawn_vital(name, async move {
        loop {
            let visitor = tokio::select! {
                visitor = door.accept() => visitor,
                () = own.stopping().cancelled() => return,
            };
            let peer = Peer {
                address: visitor.address,
                wire: Arc::default(),
            };
            let Some(full) = full.as_ref().filter(|_| visitor.last) else {
                let served = connection(visitor.stream, peer, routes.clone(), own.clone());
                own.spawn(served);
                continue;
            };
            // Else there is nothing left even to tell it.
            if let Ok(one) = Arc::clone(&turned_away).try_acquire_owned() {
                let told = connection(visitor.stream, peer, full.clone(), own.clone());
                own.spawn(async move {
                    // It had its time.
                    let _ = tokio::time::timeout(TELLING, told).await;
                    drop(one);
                });
            }
        }
    });
}

/// Serves one connection to its end, or until it is upgraded.
async fn connection(stream: TcpStream, peer: Peer, routes: Router, life: Lifecycle) {
    let wire = TokioIo::new(Wire::new(stream, Arc::clone(&peer.wire)));
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let answered = hyper::service::Service::call(&routes, request);
        async move { answered.await.map_err(|never: Infallible| never) }
    });
    let mut served = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_BYTES)
            .serve_connection(wire, service)
            .with_upgrades()
    );
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = life.stopping().cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(
            error.timeout = error.is_timeout(),
            "connection ended by an error"
        );
    }
}
