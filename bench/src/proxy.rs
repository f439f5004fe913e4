//! A TCP proxy that spoils the way: late, silent, cut, slow, or leading elsewhere.

use std::{net::SocketAddr, time::Duration};

use ticket_shared::lifecycle::Lifecycle;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    time::sleep,
};

/// What happens on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Nothing.
    Pass,
    /// What the server says comes late by this.
    Delay(Duration),
    /// Nothing gets through, in either direction, and nobody is told; what is held gets through later.
    Hole,
    /// Requests get through; what the server says is thrown away.
    Mute,
    /// Every connection is cut, and every new one too.
    Cut,
    /// Not more than so many bytes a second on each connection and in each direction.
    Throttle(u64),
}

/// A way to one server.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// The server, and how often connections to a former one were cut.
    target: watch::Sender<(SocketAddr, u32)>,
}

impl Proxy {
    /// Opens a way to `target`.
    ///
    /// # Errors
    /// Where it can't listen.
    pub(crate) async fn open(life: &Lifecycle, target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (mode, target) = (
            watch::Sender::new(Mode::Pass),
            watch::Sender::new((target, 0)),
        );
        let (modes, targets) = (mode.clone(), target.clone());
        let tasks = life.clone();
        life.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tasks.spawn(forward(client, modes.subscribe(), targets.subscribe()));
            }
        });
        Ok(Self {
            address,
            mode,
            target,
        })
    }

    /// Changes what happens on the way, on open connections too.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Leads elsewhere from now on. Connections to the former server are cut.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        self.target
            .send_modify(|(now, cuts)| (*now, *cuts) = (target, *cuts + 1));
    }

    /// Leads new connections elsewhere from now on, as a name or a virtual address does. Others stay.
    pub(crate) fn lead_new_to(&self, target: SocketAddr) {
        self.target.send_modify(|(now, _)| *now = target);
    }
}

async fn forward(
    client: TcpStream,
    mut mode: watch::Receiver<Mode>,
    mut target: watch::Receiver<(SocketAddr, u32)>,
) {
    let (to, before) = *target.borrow_and_update();
    if *mode.borrow() == Mode::Hole && mode.wait_for(|mode| *mode != Mode::Hole).await.is_err() {
        return;
    }
    if *mode.borrow() == Mode::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(to).await else {
        return;
    };
    // Both are only a matter of speed.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let cut = async {
        mode.clone()
            .wait_for(|mode| *mode == Mode::Cut)
            .await
            .map(drop)
    };
    tokio::select! {
        () = pump(from_client, to_server, mode.clone(), false) => {}
        () = pump(from_server, to_client, mode.clone(), true) => {}
        _ = cut => {}
        _ = target.wait_for(|(_, cuts)| *cuts != before) => {}
    }
}

/// One direction of one connection, until one side ends it.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    replies: bool,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(read) if read > 0 => read,
            _ => return,
        };
        let now = *mode.borrow_and_update();
        match now {
            Mode::Delay(late) if replies => sleep(late).await,
            Mode::Hole => {
                if mode.wait_for(|mode| *mode != Mode::Hole).await.is_err() {
                    return;
                }
            }
            Mode::Mute if replies => continue,
            Mode::Pass | Mode::Cut | Mode::Delay(_) | Mode::Mute => {}
            Mode::Throttle(rate) => {
                let bytes = u64::try_from(read).unwrap_or(0);
                sleep(Duration::from_micros(bytes * 1_000_000 / rate.max(1))).await;
            }
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    /// A server that says everything again, and a way to it.
    async fn echo(life: &Lifecycle) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = life.clone();
        life.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tasks.spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Proxy::open(life, address).await.unwrap()
    }

    async fn says_again(stream: &mut TcpStream, within: Duration) -> bool {
        stream.write_all(b"x").await.unwrap();
        let mut byte = [0];
        matches!(timeout(within, stream.read(&mut byte)).await, Ok(Ok(1)))
    }

    #[tokio::test]
    async fn the_way_is_spoilt_and_mended() {
        let life = Lifecycle::default();
        let proxy = echo(&life).await;
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        let (short, long) = (Duration::from_millis(200), Duration::from_secs(5));
        assert!(says_again(&mut stream, long).await);
        proxy.set(Mode::Hole);
        assert!(!says_again(&mut stream, short).await);
        proxy.set(Mode::Pass);
        let mut held = [0];
        timeout(long, stream.read_exact(&mut held))
            .await
            .unwrap()
            .unwrap();
        proxy.set(Mode::Mute);
        assert!(!says_again(&mut stream, short).await);
        proxy.set(Mode::Delay(short));
        let began = Instant::now();
        assert!(says_again(&mut stream, long).await);
        assert!(began.elapsed() >= short);
        proxy.set(Mode::Cut);
        let end = timeout(long, stream.read(&mut held)).await.unwrap();
        assert!(matches!(end, Ok(0) | Err(_)));
        life.shutdown(Duration::from_millis(10)).await;
    }
}
