//! A proxy that records what reaches a server: Redis or MongoDB.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use mongodb::bson::RawDocument;
use ticket_shared::lifecycle::Lifecycle;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

/// The length of an `OP_MSG`'s header, its flags and the kind of its section.
const HEAD: usize = 21;

/// The proxy.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    /// The bytes of each connection's requests.
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Ends the tasks with the proxy.
    _life: Lifecycle,
}

impl Recorder {
    /// A proxy in front of the server of this URL.
    pub(crate) async fn of(url: &str) -> Self {
        let place = url.split_once("://").unwrap().1;
        let target = place.split(['/', '?']).next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (life, requests) = (Lifecycle::default(), Arc::default());
        let (tasks, shared) = (life.clone(), Arc::clone(&requests));
        life.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, shared) = (target.clone(), Arc::clone(&shared));
                tasks.spawn(async move {
                    if let Ok(server) = TcpStream::connect(target).await {
                        serve(client, server, &shared).await;
                    }
                });
            }
        });
        Self {
            address,
            requests,
            _life: life,
        }
    }

    /// Takes the requests since the last call, of Redis: the words of each command.
    pub(crate) fn commands(&self) -> Vec<Vec<String>> {
        let mut commands = Vec::new();
        for bytes in self.take() {
            // No word of these commands has a line of its own that begins like a length.
            let text = String::from_utf8_lossy(&bytes).into_owned();
            for command in text.split("\r\n*").filter(|command| !command.is_empty()) {
                let words = command.split("\r\n").skip(1);
                let words = words.filter(|word| !word.starts_with('$') && !word.is_empty());
                commands.push(words.map(str::to_owned).collect());
            }
        }
        commands
    }

    /// The same of MongoDB: each command's name, and how long the request is.
    pub(crate) fn requests(&self) -> Vec<(String, usize)> {
        let mut requests = Vec::new();
        for bytes in self.take() {
            let mut rest = &bytes[..];
            while let Some((length, _)) = rest.split_first_chunk::<4>() {
                let length = usize::try_from(u32::from_le_bytes(*length)).unwrap();
                let (request, more) = rest.split_at(length);
                let document = RawDocument::from_bytes(&request[HEAD..]);
                let name = document.unwrap().iter().next().unwrap().unwrap().0;
                // What the driver asks by itself.
                if name.as_str() != "hello" {
                    requests.push((name.to_string(), length));
                }
                rest = more;
            }
        }
        requests
    }

    fn take(&self) -> Vec<Vec<u8>> {
        let mut requests = self.requests.lock().unwrap();
        requests.iter_mut().map(std::mem::take).collect()
    }
}

async fn serve(client: TcpStream, server: TcpStream, requests: &Mutex<Vec<Vec<u8>>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let own = {
        let mut requests = requests.lock().unwrap();
        requests.push(Vec::new());
        requests.len() - 1
    };
    let recorded = async {
        let mut buffer = vec![0; 65_536];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            requests.lock().unwrap()[own].extend_from_slice(&buffer[..read]);
            if to_server.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = recorded => {}
        _ = copy(&mut from_server, &mut to_client) => {}
    }
}
