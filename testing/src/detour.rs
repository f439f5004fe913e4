//! A name or virtual address in front of servers: new connections lead to the present one, kept ones stay where they are.

use ticket_shared::config::Secret;
use tokio::{io::copy_bidirectional, net::TcpStream, sync::watch};

use crate::listen::{Listening, listen};

/// The way to a server, of which there may be none.
#[derive(Debug)]
pub struct Detour {
    listening: Listening,
    port: watch::Sender<u16>,
}

impl Detour {
    /// Opens a way to this port of the loopback address.
    ///
    /// # Errors
    /// If it can't listen.
    pub async fn to(port: u16) -> std::io::Result<Self> {
        let (port, present) = watch::channel(port);
        let listening = listen(move |mut client| {
            let port = *present.borrow();
            async move {
                if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                    // Either end may go at any time.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            }
        })
        .await?;
        Ok(Self { listening, port })
    }

    /// The URL of the Redis server behind it.
    pub fn url(&self) -> Secret {
        Secret::new(format!("redis://{}", self.listening.address))
    }

    /// Leads new connections elsewhere.
    pub fn lead_to(&self, port: u16) {
        self.port.send_replace(port);
    }
}
