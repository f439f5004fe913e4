//! Listening: accepted connections get the TCP options that Socket.IO needs, and a header that does not come ends them.
//! [`ServerStop`] is how it ends.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use axum::Router;
use socket2::SockRef;
use ticket_shared::lifecycle::Lifecycle;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

mod body;
mod connection;
mod descriptors;
mod kept;
mod shares;
mod stop;
mod wire;

use connection::{Serving, connection};
pub use descriptors::Descriptors;
use shares::{Seat, Shares};
pub use stop::ServerStop;
pub use wire::{Wire, WireState};

/// After this long without an answer to what was sent, a connection is dead.
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// How many bytes the header of a request may have.
pub(crate) const HEADER_BYTES: usize = 32 * 1024;
/// How long accepting pauses where the process or the system has no file descriptors left.
const PAUSE: Duration = Duration::from_secs(1);
/// How many clients at once are told that there is no place for them, with the descriptors that are kept back.
const TURNED_AWAY: usize = 16;
/// How long to wait until a connection is closed that had to make room.
const MAKING_ROOM: Duration = Duration::from_millis(100);
/// How long that may take each.
const TELLING: Duration = Duration::from_secs(1);

/// Whose connection a request came over. An extension of every request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The other end.
    pub address: IpAddr,
    /// The connection.
    pub wire: Arc<WireState>,
    /// Its part in the share of its address; kept by the connection alone.
    seat: Weak<Seat>,
    /// The address has its share.
    crowded: bool,
}

impl Peer {
    /// The connection counts for this address, which a proxy has forwarded. Returns whether that has room.
    pub(crate) fn counts_for(&self, address: IpAddr) -> bool {
        self.seat
            .upgrade()
            .is_none_or(|seat| seat.counts_for(address))
    }

    /// Whether the address has its share of connections, so that this one is only told.
    pub(crate) fn crowded(&self) -> bool {
        self.crowded
    }
}

/// The address that a connection counts for, and whether it is a proxy's.
pub(crate) type Counted = Box<dyn Fn(IpAddr) -> (IpAddr, bool) + Send + Sync>;

/// Accepts connections.
pub(crate) struct Door {
    listener: TcpListener,
    descriptors: Arc<Descriptors>,
    /// How long a connection is kept without a request.
    keep: Duration,
    /// Shares of addresses; operators have none.
    shares: Option<(Arc<Shares>, Counted)>,
}

/// Somebody at the door.
struct Visitor {
    stream: TcpStream,
    peer: Peer,
    seat: Option<Arc<Seat>>,
    /// It is served no more than being told that there is no place.
    refused: bool,
}

impl Door {
    pub(crate) fn new(
        listener: TcpListener,
        descriptors: &Arc<Descriptors>,
        keep: Duration,
    ) -> Self {
        Self {
            listener,
            descriptors: Arc::clone(descriptors),
            keep,
            shares: None,
        }
    }

    /// The same with a share for each address.
    pub(crate) fn with_shares(mut self, counted: Counted) -> Self {
        self.shares = Some((Shares::new(self.descriptors.share()), counted));
        self
    }

    /// Closes a connection that asks for nothing, and waits for that: descriptors that are kept back would be used up
    /// before. Returns whether there was one.
    async fn make_room(&self) -> bool {
        let Some((shares, _)) = &self.shares else {
            return false;
        };
        let mut closed = shares.closed();
        let evicted = shares.evict();
        if evicted {
            // It is closed all the same.
            let _ = tokio::time::timeout(MAKING_ROOM, closed.changed()).await;
        }
        evicted
    }

    /// Whether what this connection takes up should be left to others than clients, and none made room for it.
    async fn is_last(&self, stream: &TcpStream) -> bool {
        let last = self.descriptors.keeps_back(stream) && !self.make_room().await;
        if last {
            self.descriptors.ran_out();
        }
        last
    }

    async fn visitor(&self, stream: TcpStream, address: IpAddr) -> Visitor {
        tune(&stream);
        let last = self.is_last(&stream).await;
        let wire = Arc::default();
        let seat = self.shares.as_ref().map(|(shares, counted)| {
            let (counted, proxy) = counted(address);
            shares.enter(counted, proxy, &wire)
        });
        let crowded = matches!(seat, Some(None));
        let seat = seat.flatten();
        let peer = Peer {
            address,
            wire,
            seat: seat.as_ref().map(Arc::downgrade).unwrap_or_default(),
            crowded,
        };
        Visitor {
            stream,
            peer,
            seat,
            refused: last || crowded,
        }
    }

    async fn accept(&self) -> Visitor {
        loop {
            let error = match self.listener.accept().await {
                Ok((stream, address)) => return self.visitor(stream, address.ip()).await,
                Err(error) => error,
            };
            if is_exhausted(&error) {
                if self.make_room().await {
                    continue;
                }
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

/// Serves `routes` until `stop` closes the server, or the process stops; and `full`, briefly, to whom no file descriptor is
/// left for. Without that they are served as all others.
pub(crate) fn serve(
    name: &'static str,
    door: Door,
    routes: Router,
    full: Option<Router>,
    stop: &ServerStop,
    life: &Lifecycle,
) {
    let serving = Serving {
        routes,
        life: life.clone(),
        stop: stop.clone(),
        keep: door.keep,
    };
    let full = full.map(|routes| Serving {
        routes,
        ..serving.clone()
    });
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY));
    let life = life.clone();
    life.clone().spawn_vital(name, async move {
        loop {
            let visitor = tokio::select! {
                visitor = door.accept() => visitor,
                () = serving.stop.closing().cancelled() => break,
                () = life.stopping().cancelled() => return,
            };
            let Visitor {
                stream,
                peer,
                seat,
                refused,
            } = visitor;
            let wire = Wire::new(stream, Arc::clone(&peer.wire), seat);
            let Some(full) = full.as_ref().filter(|_| refused) else {
                life.spawn(connection(wire, peer, serving.clone()));
                continue;
            };
            // Else there is nothing left even to tell it.
            if let Ok(one) = Arc::clone(&turned_away).try_acquire_owned() {
                let told = connection(wire, peer, full.clone());
                life.spawn(async move {
                    // It had its time.
                    let _ = tokio::time::timeout(TELLING, told).await;
                    drop(one);
                });
            }
        }
        // Closes the listener.
        drop(door);
        life.stopping().cancelled().await;
    });
}
