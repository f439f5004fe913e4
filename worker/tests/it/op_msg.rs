//! A proxy in front of MongoDB that refuses some commands itself, as providers, views and full disks do.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use mongodb::bson::{Document, RawDocument, RawDocumentBuf, doc};
use ticket_shared::lifecycle::Lifecycle;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Mutex as AsyncMutex,
};

/// The length of a message's header, its flags and the kind of its section.
const HEAD: usize = 21;

/// Commands, and what they are answered with.
type Injected = Arc<Mutex<Vec<(&'static str, Document)>>>;

/// The proxy.
pub(crate) struct OpMsg {
    pub(crate) address: SocketAddr,
    injected: Injected,
    /// Ends the tasks with the proxy.
    _life: Lifecycle,
}

impl OpMsg {
    /// A proxy in front of the server of this URI.
    pub(crate) async fn of(uri: &str) -> Self {
        let place = uri.split_once("://").expect("a URI").1;
        let target = place.split(['/', '?']).next().expect("a host").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, injected) = (
            listener.local_addr().expect("an address"),
            Injected::default(),
        );
        let life = Lifecycle::default();
        let (tasks, shared) = (life.clone(), injected.clone());
        life.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, injected) = (target.clone(), shared.clone());
                tasks.spawn(async move {
                    if let Ok(server) = TcpStream::connect(target).await {
                        serve(client, server, injected).await;
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

    /// Answers this command with this document from now on.
    pub(crate) fn inject(&self, command: &'static str, answer: Document) {
        let mut injected = self.injected.lock().expect("no panic");
        injected.push((command, answer));
    }

    /// Refuses these commands with this error from now on.
    pub(crate) fn refuse(&self, commands: &[&'static str], code: i32, name: &str) {
        for command in commands {
            let answer = doc! { "ok": 0.0, "code": code, "codeName": name, "errmsg": "refused" };
            self.inject(command, answer);
        }
    }

    /// Answers nothing itself any more.
    pub(crate) fn clear(&self) {
        self.injected.lock().expect("no panic").clear();
    }
}

async fn serve(client: TcpStream, server: TcpStream, injected: Injected) {
    let (from_client, to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let to_client = Arc::new(AsyncMutex::new(to_client));
    let answers = async {
        while let Some(message) = message(&mut from_server).await {
            if to_client.lock().await.write_all(&message).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = requests(from_client, to_server, &to_client, &injected) => {}
        () = answers => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    back: &AsyncMutex<OwnedWriteHalf>,
    injected: &Mutex<Vec<(&'static str, Document)>>,
) {
    while let Some(message) = message(&mut from).await {
        let name = command_name(&message).unwrap_or_default();
        let answer = injected
            .lock()
            .expect("no panic")
            .iter()
            .find(|(of, _)| *of == name)
            .map(|(_, answer)| answer.clone());
        let sent = match answer {
            Some(answer) => {
                let answer = reply(&message, &answer);
                back.lock().await.write_all(&answer).await
            }
            None => to.write_all(&message).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Reads one message as it is.
async fn message(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await.ok()?;
    let mut message = vec![0; usize::try_from(u32::from_le_bytes(length)).ok()?];
    message[..4].copy_from_slice(&length);
    from.read_exact(&mut message[4..]).await.ok()?;
    Some(message)
}

/// The first field of the first document of an `OP_MSG` is the command.
fn command_name(message: &[u8]) -> Option<String> {
    let operation = i32::from_le_bytes(message.get(12..16)?.try_into().ok()?);
    if operation != 2013 || *message.get(20)? != 0 {
        return None;
    }
    let length = u32::from_le_bytes(message.get(HEAD..HEAD + 4)?.try_into().ok()?);
    let document = message.get(HEAD..HEAD + usize::try_from(length).ok()?)?;
    let document = RawDocument::from_bytes(document).ok()?;
    let (name, _) = document.iter().next()?.ok()?;
    Some(name.to_string())
}

fn reply(to: &[u8], answer: &Document) -> Vec<u8> {
    let body = RawDocumentBuf::try_from(answer).expect("BSON");
    let body = body.as_bytes();
    let length = u32::try_from(HEAD + body.len()).expect("a small answer");
    let mut reply = Vec::with_capacity(HEAD + body.len());
    reply.extend(length.to_le_bytes());
    reply.extend(1_i32.to_le_bytes());
    // The request's own number.
    reply.extend(&to[4..8]);
    reply.extend(2013_i32.to_le_bytes());
    reply.extend([0; 5]);
    reply.extend(body);
    reply
}
