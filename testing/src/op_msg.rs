//! A proxy in front of MongoDB that refuses some commands itself, as providers, views and full disks do.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mongodb::bson::{Document, RawDocument, RawDocumentBuf, doc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex as AsyncMutex, watch},
};

use crate::listen::{Listening, listen, place};

/// The length of a message's header, its flags and the kind of its section.
const HEAD: usize = 21;

/// Maximum number of commands that are remembered.
const REMEMBERED: usize = 1_000;

/// The proxy's own answer to a command, if it has one.
type Rule = Box<dyn Fn(&Document) -> Option<Document> + Send>;

/// The proxy.
#[derive(Debug)]
pub struct OpMsg {
    listening: Listening,
    state: Arc<Mutex<State>>,
    held: watch::Sender<Option<&'static str>>,
}

#[derive(Default)]
struct State {
    rules: Vec<(&'static str, Rule)>,
    /// Number of commands that the proxy answered, or held.
    answered: usize,
    /// Commands that came, by what `OpMsg::remember` names.
    remembered: Vec<Document>,
    remember: Vec<&'static str>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

impl OpMsg {
    /// Opens a proxy in front of the server of this URI.
    ///
    /// # Errors
    /// If it can't listen.
    pub async fn of(uri: &str) -> std::io::Result<Self> {
        let (target, state) = (place(uri).to_owned(), Arc::<Mutex<State>>::default());
        let (shared, held) = (Arc::clone(&state), watch::Sender::new(None));
        let holds = held.clone();
        let listening = listen(move |client| {
            let (target, state, held) = (target.clone(), Arc::clone(&shared), holds.subscribe());
            async move {
                if let Ok(server) = TcpStream::connect(target).await {
                    serve(client, server, &state, held).await;
                }
            }
        })
        .await?;
        Ok(Self {
            listening,
            state,
            held,
        })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.listening.address
    }

    /// The URI of a database behind the proxy. A server that belongs to a set would name its own address, and the driver
    /// would go there: so the driver is asked to stay.
    pub fn uri(&self, database: &str, options: &str) -> String {
        let address = self.address();
        format!("mongodb://{address}/{database}?directConnection=true{options}")
    }

    /// Answers this command from now on with what `answer` makes of it; what it makes nothing of goes on to the server.
    pub fn answer(
        &self,
        command: &'static str,
        answer: impl Fn(&Document) -> Option<Document> + Send + 'static,
    ) {
        self.state().rules.push((command, Box::new(answer)));
    }

    /// Answers this command with this document from now on.
    pub fn inject(&self, command: &'static str, answer: Document) {
        self.answer(command, move |_| Some(answer.clone()));
    }

    /// The same, of those commands in which `about` stands.
    pub fn inject_about(&self, command: &'static str, about: &'static str, answer: Document) {
        self.answer(command, move |request| {
            request.to_string().contains(about).then(|| answer.clone())
        });
    }

    /// Holds this command back until another one, or none, is held.
    pub fn hold(&self, command: Option<&'static str>) {
        self.held.send_replace(command);
    }

    /// Returns the number of commands that the proxy answered, or held.
    pub fn answered(&self) -> usize {
        self.state().answered
    }

    /// Refuses these commands with this error from now on.
    pub fn refuse(&self, commands: &[&'static str], code: i32, name: &str) {
        for command in commands {
            self.inject(command, refusal(code, name, "refused"));
        }
    }

    /// Passes everything on again.
    pub fn clear(&self) {
        self.state().rules.clear();
    }

    /// Remembers the first 1,000 commands of these names.
    pub fn remember(&self, command: &'static str) {
        self.state().remember.push(command);
    }

    /// The commands that were remembered, oldest first.
    pub fn remembered(&self) -> Vec<Document> {
        self.state().remembered.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// A server's reply that refuses a command.
pub fn refusal(code: i32, name: &str, words: &str) -> Document {
    doc! { "ok": 0.0, "code": code, "codeName": name, "errmsg": words }
}

async fn serve(
    client: TcpStream,
    server: TcpStream,
    state: &Mutex<State>,
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
        () = requests(from_client, to_server, &to_client, state, held) => {}
        () = answers => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    back: &AsyncMutex<OwnedWriteHalf>,
    state: &Mutex<State>,
    mut held: watch::Receiver<Option<&'static str>>,
) {
    while let Some(message) = message(&mut from).await {
        let command = command(&message);
        let name = command.as_ref().and_then(|command| command.keys().next());
        let is_held = |held: Option<&'static str>| {
            held.is_some_and(|held| name.is_some_and(|name| name == held))
        };
        if is_held(*held.borrow()) {
            lock(state).answered += 1;
        }
        // It fails once the proxy has gone.
        let _ = held.wait_for(|held| !is_held(*held)).await;
        let answer = command
            .as_ref()
            .and_then(|command| own_answer(state, command));
        let sent = match answer {
            Some(answer) => {
                let Some(answer) = reply(&message, &answer) else {
                    return;
                };
                back.lock().await.write_all(&answer).await
            }
            None => to.write_all(&message).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

fn own_answer(state: &Mutex<State>, command: &Document) -> Option<Document> {
    let name = command.keys().next()?;
    let mut state = lock(state);
    if state.remember.iter().any(|of| of == name) && state.remembered.len() < REMEMBERED {
        state.remembered.push(command.clone());
    }
    let mut rules = state.rules.iter().filter(|(of, _)| of == name);
    let answer = rules.find_map(|(_, rule)| rule(command))?;
    state.answered += 1;
    Some(answer)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads one message as it is.
async fn message(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await.ok()?;
    let mut message = vec![0; usize::try_from(u32::from_le_bytes(length)).ok()?];
    message.get_mut(..4)?.copy_from_slice(&length);
    from.read_exact(&mut message[4..]).await.ok()?;
    Some(message)
}

/// The command of an `OP_MSG`: its first document.
fn command(message: &[u8]) -> Option<Document> {
    let operation = i32::from_le_bytes(message.get(12..16)?.try_into().ok()?);
    if operation != 2013 || *message.get(20)? != 0 {
        return None;
    }
    let length = u32::from_le_bytes(message.get(HEAD..HEAD + 4)?.try_into().ok()?);
    let document = message.get(HEAD..HEAD + usize::try_from(length).ok()?)?;
    Document::try_from(RawDocument::from_bytes(document).ok()?).ok()
}

fn reply(to: &[u8], answer: &Document) -> Option<Vec<u8>> {
    let body = RawDocumentBuf::try_from(answer).ok()?;
    let body = body.as_bytes();
    let length = u32::try_from(HEAD + body.len()).ok()?;
    let mut reply = Vec::with_capacity(HEAD + body.len());
    reply.extend(length.to_le_bytes());
    reply.extend(1_i32.to_le_bytes());
    // The request's own number.
    reply.extend(&to[4..8]);
    reply.extend(2013_i32.to_le_bytes());
    reply.extend([0; 5]);
    reply.extend(body);
    Some(reply)
}
