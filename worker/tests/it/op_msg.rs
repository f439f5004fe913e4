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
    sync::{Mutex as AsyncMutex, watch},
};

/// The length of a message's header, its flags and the kind of its section.
const HEAD: usize = 21;

/// Answers of the proxy itself.
#[derive(Default)]
struct Injections {
    all: Vec<Injection>,
    answered: usize,
}

struct Injection {
    command: &'static str,
    /// Only where this stands in the request.
    about: Option<&'static str>,
    answer: Document,
}

type Injected = Arc<Mutex<Injections>>;

/// The proxy.
pub(crate) struct OpMsg {
    pub(crate) address: SocketAddr,
    injected: Injected,
    held: watch::Sender<Option<&'static str>>,
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
        let held = watch::Sender::new(None);
        let holds = held.clone();
        life.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, injected) = (target.clone(), shared.clone());
                let held = holds.subscribe();
                tasks.spawn(async move {
                    if let Ok(server) = TcpStream::connect(target).await {
                        serve(client, server, injected, held).await;
                    }
                });
            }
        });
        Self {
            address,
            injected,
            held,
            _life: life,
        }
    }

    /// Answers this command with this document from now on.
    pub(crate) fn inject(&self, command: &'static str, answer: Document) {
        self.add(command, None, answer);
    }

    /// The same, of those requests in which `about` stands.
    pub(crate) fn inject_about(
        &self,
        command: &'static str,
        about: &'static str,
        answer: Document,
    ) {
        self.add(command, Some(about), answer);
    }

    fn add(&self, command: &'static str, about: Option<&'static str>, answer: Document) {
        let mut injected = self.injected.lock().expect("no panic");
        injected.all.push(Injection {
            command,
            about,
            answer,
        });
    }

    /// Holds requests of this command back until another, or none, is held.
    pub(crate) fn hold(&self, command: Option<&'static str>) {
        self.held.send_replace(command);
    }

    /// Number of requests that it has answered itself, or holds.
    pub(crate) fn answered(&self) -> usize {
        self.injected.lock().expect("no panic").answered
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
        self.injected.lock().expect("no panic").all.clear();
    }
}

impl Injections {
    fn answer(&mut self, command: &str, message: &[u8]) -> Option<Document> {
        let is_about = |about: &str| {
            let mut parts = message.windows(about.len());
            parts.any(|part| part == about.as_bytes())
        };
        let found = self.all.iter().find(|injection| {
            injection.command == command && injection.about.is_none_or(is_about)
        })?;
        self.answered += 1;
        Some(found.answer.clone())
    }
}

async fn serve(
    client: TcpStream,
    server: TcpStream,
    injected: Injected,
    held: watch::Receiver<Option<&'static str>>,
) {
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
        () = requests(from_client, to_server, &to_client, &injected, held) => {}
        () = answers => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    back: &AsyncMutex<OwnedWriteHalf>,
    injected: &Mutex<Injections>,
    mut held: watch::Receiver<Option<&'static str>>,
) {
    while let Some(message) = message(&mut from).await {
        let name = command_name(&message).unwrap_or_default();
        let is_held = |held: Option<&'static str>| held == Some(name.as_str());
        if is_held(*held.borrow()) {
            injected.lock().expect("no panic").answered += 1;
        }
        // It fails once the proxy has gone.
        let _ = held.wait_for(|held| !is_held(*held)).await;
        let answer = injected.lock().expect("no panic").answer(&name, &message);
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
