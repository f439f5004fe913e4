//! Listening: accepted connections get the TCP options that Socket.IO needs, a header that does not come ends
//! them, and a stop ends the listening at once but lets requests finish.

use std::{
    convert::Infallible,
    fs::File,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::SockRef;
use ticket_shared::lifecycle::Lifecycle;
use tokio::net::{TcpListener, TcpStream};

mod wire;

pub use wire::{Wire, WireState};

/// After this long without an answer to what was sent, a connection is dead.
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the header of a request may take, and how long a connection may be kept without one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);
/// How many bytes the header of a request may have.
const HEADER_BYTES: usize = 32 * 1024;
/// How long accepting pauses where the process or the system has no file descriptors left.
const PAUSE: Duration = Duration::from_secs(1);

/// Whose connection a request came over. An extension of every request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The other end.
    pub address: IpAddr,
    /// The connection.
    pub wire: Arc<WireState>,
}

/// Whether there were file descriptors for connections lately.
#[derive(Debug, Default)]
pub struct Descriptors(Mutex<Option<Instant>>);

impl Descriptors {
    /// Whether a connection could not be accepted for want of one, a moment ago.
    pub fn exhausted(&self) -> bool {
        let at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| at.elapsed() < 2 * PAUSE)
    }

    fn ran_out(&self) {
        let mut at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if at.is_none_or(|at| at.elapsed() > 10 * PAUSE) {
            tracing::error!("no file descriptors left, accepting pauses");
        }
        *at = Some(Instant::now());
    }
}

/// Accepts connections.
pub(crate) struct Door {
    listener: TcpListener,
    descriptors: Arc<Descriptors>,
    /// Kept for operators, who must be told that there are none left.
    spare: Option<File>,
    keeps_spare: bool,
}

impl Door {
    pub(crate) fn new(
        listener: TcpListener,
        descriptors: &Arc<Descriptors>,
        keeps_spare: bool,
    ) -> Self {
        Self {
            listener,
            descriptors: Arc::clone(descriptors),
            spare: None,
            keeps_spare,
        }
    }

    async fn accept(&mut self) -> (TcpStream, IpAddr) {
        loop {
            if self.keeps_spare && self.spare.is_none() {
                // Tried again before the next connection.
                self.spare = File::open("/dev/null").ok();
            }
            let error = match self.listener.accept().await {
                Ok((stream, address)) => {
                    tune(&stream);
                    return (stream, address.ip());
                }
                Err(error) => error,
            };
            if is_exhausted(&error) {
                self.descriptors.ran_out();
                if let Some(spare) = self.spare.take() {
                    drop(spare);
                    if let Ok((stream, address)) = self.listener.accept().await {
                        return (stream, address.ip());
                    }
                }
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

/// Serves `routes` until the process stops.
pub(crate) fn serve(name: &'static str, mut door: Door, routes: Router, life: &Lifecycle) {
    let own = life.clone();
    life.spawn_vital(name, async move {
        loop {
            let (stream, address) = tokio::select! {
                accepted = door.accept() => accepted,
                () = own.stopping().cancelled() => return,
            };
            let peer = Peer {
                address,
                wire: Arc::default(),
            };
            own.spawn(connection(stream, peer, routes.clone(), own.clone()));
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
