//! A server that can be absent: a port that leads to the real one, or closes every connection.

use std::net::SocketAddr;

use ticket_testing::{Listening, listen, place};
use tokio::{io::copy_bidirectional, net::TcpStream, sync::watch};

/// The way to one server.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    open: watch::Sender<bool>,
    _listening: Listening,
}

impl Proxy {
    /// A closed way to the server in `url`.
    pub(crate) async fn new(url: &str) -> Self {
        let target = place(url).to_owned();
        let (open, state) = watch::channel(false);
        let listening = listen(move |client| forward(client, target.clone(), state.clone())).await;
        let listening = listening.expect("a port");
        Self {
            address: listening.address,
            open,
            _listening: listening,
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
