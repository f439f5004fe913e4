//! A proxy in front of Redis that answers some commands itself, as proxies and providers do.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use ticket_shared::{config::Secret, lifecycle::Lifecycle};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// Which command is answered, and with what; `*` is any.
type Injected = Arc<Mutex<Vec<(String, String)>>>;

/// The proxy.
pub(crate) struct Resp {
    address: SocketAddr,
    injected: Injected,
    /// Ends the tasks with the proxy.
    _life: Lifecycle,
}

impl Resp {
    /// A proxy in front of the server of this URL.
    pub(crate) async fn of(url: &str) -> Self {
        let place = url.split_once("://").unwrap().1;
        let target = place.split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, injected) = (listener.local_addr().unwrap(), Injected::default());
        let life = Lifecycle::default();
        let (tasks, shared) = (life.clone(), injected.clone());
        life.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, injected) = (target.clone(), shared.clone());
                tasks.spawn(async move {
                    if let Ok(server) = TcpStream::connect(target).await {
                        // Either end may go at any time.
                        let _ = serve(client, server, injected).await;
                    }
                });
            }
        });
        Self {
            address,
            injected,
            _life: life,
        }
    }

    pub(crate) fn url(&self) -> Secret {
        Secret::new(format!("redis://{}", self.address))
    }

    /// Answers this command with this error from now on.
    pub(crate) fn inject(&self, command: &str, error: &str) {
        let rule = (command.to_owned(), error.to_owned());
        self.injected.lock().unwrap().push(rule);
    }

    /// Answers nothing itself any more.
    pub(crate) fn clear(&self) {
        self.injected.lock().unwrap().clear();
    }
}

/// One command after the other, so that the answers stay in order.
async fn serve(client: TcpStream, server: TcpStream, injected: Injected) -> std::io::Result<()> {
    let (from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let mut commands = BufReader::new(from_client);
    let mut answers = BufReader::new(from_server);
    loop {
        let mut command = Vec::new();
        frame(&mut commands, &mut command).await?;
        let text = String::from_utf8_lossy(&command).into_owned();
        let name = text.split("\r\n").nth(2).unwrap_or_default().to_uppercase();
        let rule = injected
            .lock()
            .unwrap()
            .iter()
            .find(|(of, _)| *of == name || of == "*")
            .map(|(_, error)| error.clone());
        if let Some(error) = rule {
            to_client
                .write_all(format!("-{error}\r\n").as_bytes())
                .await?;
            continue;
        }
        to_server.write_all(&command).await?;
        let mut answer = Vec::new();
        frame(&mut answers, &mut answer).await?;
        to_client.write_all(&answer).await?;
    }
}

/// Reads one frame as it is.
async fn frame(
    from: &mut (impl AsyncBufRead + Unpin + Send),
    into: &mut Vec<u8>,
) -> std::io::Result<()> {
    let mut due = 1_i64;
    while due > 0 {
        due -= 1;
        let start = into.len();
        if from.read_until(b'\n', into).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = String::from_utf8_lossy(&into[start..]).into_owned();
        let number = || line[1..].trim().parse::<i64>().unwrap_or(0);
        match line.as_bytes()[0] {
            b'$' | b'=' | b'!' if number() >= 0 => {
                let mut body = vec![0; usize::try_from(number()).unwrap() + 2];
                from.read_exact(&mut body).await?;
                into.extend(body);
            }
            b'*' | b'~' | b'>' => due += number().max(0),
            b'%' => due += 2 * number(),
            _ => {}
        }
    }
    Ok(())
}
