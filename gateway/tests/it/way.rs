//! A name or virtual address in front of servers: new connections lead to the present one, kept ones stay where they are.

use std::net::SocketAddr;

use ticket_shared::{config::Secret, lifecycle::Lifecycle};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// The way to a server.
pub(crate) struct Way {
    address: SocketAddr,
    port: watch::Sender<u16>,
    /// Ends the tasks with the way.
    _life: Lifecycle,
}

impl Way {
    /// A way that leads to this port of the loopback address.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (port, present) = watch::channel(port);
        let life = Lifecycle::default();
        let tasks = life.clone();
        life.spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let port = *present.borrow();
                tasks.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self {
            address,
            port,
            _life: life,
        }
    }

    pub(crate) fn url(&self) -> Secret {
        Secret::new(format!("redis://{}", self.address))
    }

    /// Leads new connections elsewhere.
    pub(crate) fn lead_to(&self, port: u16) {
        self.port.send_replace(port);
    }
}
