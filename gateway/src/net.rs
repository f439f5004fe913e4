//! Listening: accepted connections get the TCP options that Socket.IO needs, and a stop ends the listening at
//! once but lets requests finish.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, serve::Listener};
use socket2::SockRef;
use ticket_shared::lifecycle::Lifecycle;
use tokio::net::{TcpListener, TcpStream};

/// After this long without an answer to what was sent, a connection is dead. Without it a client that stops
/// reading stays in its rooms for ever: the library's heartbeat can't end a write that does not return.
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// Accepts connections and sets their options.
struct Tuned(TcpListener);

impl Listener for Tuned {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        // axum's own listener waits out errors such as exhausted file descriptors.
        let (stream, address) = Listener::accept(&mut self.0).await;
        let socket = SockRef::from(&stream);
        let tuned = socket
            .set_tcp_nodelay(true)
            .and_then(|()| socket.set_tcp_user_timeout(Some(USER_TIMEOUT)));
        if let Err(error) = tuned {
            tracing::debug!(error.kind = %error.kind(), "connection without its options");
        }
        (stream, address)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Serves `routes` until the process stops.
pub(crate) fn serve(name: &'static str, listener: TcpListener, routes: Router, life: &Lifecycle) {
    let stopping = life.stopping().clone();
    life.spawn_vital(name, async move {
        let service = axum::serve(Tuned(listener), routes);
        if let Err(error) = service
            .with_graceful_shutdown(stopping.cancelled_owned())
            .await
        {
            tracing::error!(error.kind = %error.kind(), "listening ended");
        }
    });
}
