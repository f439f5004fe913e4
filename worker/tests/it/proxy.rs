//! A server that can be absent: a port that leads to the real one, or closes every connection.

use std::net::SocketAddr;

use ticket_shared::lifecycle::Lifecycle;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// The way to one server.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    open: watch::Sender<bool>,
    _life: Lifecycle,
}

impl Proxy {
    /// A closed way to the server in `url`.
    pub(crate) async fn new(url: &str) -> Self {
        let target = host_of(url);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (open, state) = watch::channel(false);
        let life = Lifecycle::default();
        let tasks = life.clone();
        life.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tasks.spawn(forward(client, target.clone(), state.clone()));
            }
        });
        Self {
            address,
            open,
            _life: life,
        }
    }

    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

async fn forward(mut client: TcpStream, target: String, mut open: watch::Receiver<bool>) {
    if !*open.borrow() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = open.wait_for(|open| !*open) => {}
    }
}

fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    rest[..end].to_owned()
}
