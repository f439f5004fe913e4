//! One Socket.IO connection over a websocket.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async_with_config,
    tungstenite::{self, Message, client::IntoClientRequest, http::HeaderValue},
};

use crate::{
    narrow,
    packet::{CONNECT, PONG, Packet},
};

/// How long the server may take to let a client in.
const CONNECTING: Duration = Duration::from_secs(5);
/// How long a frame may take to be written: longer only where nobody reads on the other side.
const WRITING: Duration = Duration::from_secs(5);

/// The answers of a server that lets nobody in for now, or not from this address.
const BUSY: [u16; 2] = [429, 503];

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// The other side closed it.
    #[error("closed")]
    Closed,
    /// It takes too long.
    #[error("timed out")]
    TimedOut(#[from] tokio::time::error::Elapsed),
    /// No connection.
    #[error("tcp: {0}")]
    Tcp(#[from] std::io::Error),
    /// There is no place for now: when to come again, where the refusal says.
    #[error("turned away")]
    TurnedAway(Option<Duration>),
    /// The protocol broke.
    #[error("websocket: {0}")]
    WebSocket(#[source] Box<tungstenite::Error>),
}

impl From<tungstenite::Error> for Lost {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(answer) if BUSY.contains(&answer.status().as_u16()) => {
                let after = answer.headers().get("retry-after");
                let seconds = after.and_then(|after| after.to_str().ok()?.parse().ok());
                Self::TurnedAway(seconds.map(Duration::from_secs))
            }
            error => Self::WebSocket(Box::new(error)),
        }
    }
}

/// A connection that the namespace let in.
#[derive(Debug)]
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Connects to `address` (`host:port`) and enters the default namespace.
    ///
    /// # Errors
    /// Where it is not let in, in time.
    pub(crate) async fn connect(address: &str) -> Result<Self, Lost> {
        let tcp = async { TcpStream::connect(address).await };
        Self::over(tcp, address, None).await
    }

    /// The same with room for next to nothing that is not read yet.
    ///
    /// # Errors
    /// As [`Socket::connect`].
    pub(crate) async fn connect_narrow(address: SocketAddr) -> Result<Self, Lost> {
        Self::over(narrow::connect(address), &address.to_string(), None).await
    }

    /// The same from an address of this machine, with a lie about where it comes from if there is one.
    ///
    /// # Errors
    /// As [`Socket::connect`].
    pub(crate) async fn connect_from(
        from: IpAddr,
        lie: Option<IpAddr>,
        address: &str,
    ) -> Result<Self, Lost> {
        let tcp = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from((from, 0)))?;
            let address = address.parse().map_err(std::io::Error::other)?;
            socket.connect(address).await
        };
        Self::over(tcp, address, lie).await
    }

    async fn over(
        tcp: impl Future<Output = std::io::Result<TcpStream>>,
        address: &str,
        forwarded_for: Option<IpAddr>,
    ) -> Result<Self, Lost> {
        timeout(CONNECTING, async {
            let tcp = tcp.await?;
            tcp.set_nodelay(true)?;
            let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
            let mut request = url.into_client_request()?;
            if let Some(lie) = forwarded_for {
                let lie =
                    HeaderValue::from_str(&lie.to_string()).map_err(tungstenite::Error::from)?;
                request.headers_mut().insert("x-forwarded-for", lie);
            }
            let (stream, _) =
                client_async_with_config(request, MaybeTlsStream::Plain(tcp), None).await?;
            let mut socket = Self(stream);
            loop {
                match socket.next().await? {
                    Packet::Open => socket.write(CONNECT.to_owned()).await?,
                    Packet::Connected => return Ok(socket),
                    // The first may come before the namespace lets the client in.
                    Packet::Ping => socket.write(PONG.to_owned()).await?,
                    Packet::Closed => return Err(Lost::Closed),
                    _ => {}
                }
            }
        })
        .await?
    }

    /// The next packet. May be dropped while it waits.
    ///
    /// # Errors
    /// Where the connection ended.
    pub(crate) async fn next(&mut self) -> Result<Packet, Lost> {
        match self.0.next().await.ok_or(Lost::Closed)?? {
            Message::Text(text) => Ok(Packet::decode(&text)),
            Message::Close(_) => Err(Lost::Closed),
            _ => Ok(Packet::Other),
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// Where the connection ended, or nobody reads.
    pub(crate) async fn write(&mut self, frame: String) -> Result<(), Lost> {
        Ok(timeout(WRITING, self.0.send(Message::text(frame))).await??)
    }
}
