//! Connections of clients that read nothing: what is sent to them stays with the server, not with the system.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

/// Room for what is not read yet.
const WINDOW: usize = 4_096;
/// The length of a segment on an Ethernet. On the loopback interface segments are so long that the system on the
/// server's side alone takes megabytes.
const SEGMENT: u32 = 1_448;

/// Connects with room for next to nothing that is not read yet.
///
/// # Errors
/// Where nobody listens there, or the system takes no such setting.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(WINDOW)?;
    socket.set_tcp_mss(SEGMENT)?;
    TcpSocket::from_std_stream(socket.into())
        .connect(address)
        .await
}
