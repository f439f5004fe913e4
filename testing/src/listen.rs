//! The accept loop that all proxies share.

use std::{future::Future, net::SocketAddr};

use ticket_shared::lifecycle::Lifecycle;
use tokio::net::{TcpListener, TcpStream};

/// A listener on a free port of the loopback address. Its connections end with it.
#[derive(Debug)]
pub struct Listening {
    /// The address it listens on.
    pub address: SocketAddr,
    life: Lifecycle,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.life.stop();
    }
}

/// Serves each connection in a task of its own.
///
/// # Errors
/// If no port is free.
pub async fn listen<F>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> std::io::Result<Listening>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, life) = (listener.local_addr()?, Lifecycle::default());
    let tasks = life.clone();
    life.spawn(async move {
        let stopping = tasks.stopping().clone();
        loop {
            let client = tokio::select! {
                () = stopping.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((client, _)) = client else { return };
            let (served, ended) = (serve(client), stopping.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = ended.cancelled() => {}
                    () = served => {}
                }
            });
        }
    });
    Ok(Listening { address, life })
}

/// Returns the host and port in a URL: what stands between the credentials and the path or the options.
pub fn place(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let place = rest.split(['/', '?']).next().unwrap_or(rest);
    place.rsplit_once('@').map_or(place, |(_, place)| place)
}
