//! A proxy in front of Redis that answers some commands itself, as proxies and providers do.

use std::sync::{Arc, Mutex, PoisonError};

use ticket_shared::config::Secret;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::listen::{Listening, listen, place};

/// The proxy's own answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Sends these bytes.
    Answer(Vec<u8>),
    /// Sends these bytes, and ends the connection.
    AnswerAndClose(Vec<u8>),
    /// Sends nothing any more, and keeps the connection.
    Silence,
}

impl Act {
    /// An error reply with these words.
    pub fn error(words: &str) -> Self {
        Self::Answer(format!("-{words}\r\n").into_bytes())
    }
}

/// Commands, `*` for any, and what is done with them.
type Rules = Arc<Mutex<Vec<(String, Act)>>>;

/// The proxy.
#[derive(Debug)]
pub struct Resp {
    listening: Listening,
    rules: Rules,
}

impl Resp {
    /// Opens a proxy in front of the server of this URL.
    ///
    /// # Errors
    /// If it can't listen.
    pub async fn of(url: &str) -> std::io::Result<Self> {
        let (target, rules) = (place(url).to_owned(), Rules::default());
        let shared = Arc::clone(&rules);
        let listening = listen(move |client| {
            let (target, rules) = (target.clone(), Arc::clone(&shared));
            async move {
                if let Ok(server) = TcpStream::connect(target).await {
                    // Either end may go at any time.
                    let _ = Connection::new(client, server, rules).serve().await;
                }
            }
        })
        .await?;
        Ok(Self { listening, rules })
    }

    /// The URL of the Redis server behind it.
    pub fn url(&self) -> Secret {
        Secret::new(format!("redis://{}", self.listening.address))
    }

    /// Answers this command so from now on. The first rule that fits a command holds.
    pub fn act(&self, command: &str, act: Act) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.push((command.to_owned(), act));
    }

    /// Answers this command with this error from now on.
    pub fn inject(&self, command: &str, error: &str) {
        self.act(command, Act::error(error));
    }

    /// Passes everything on again.
    pub fn clear(&self) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.clear();
    }
}

/// A client's connection, and its own to the server.
struct Connection {
    commands: BufReader<OwnedReadHalf>,
    to_client: OwnedWriteHalf,
    answers: BufReader<OwnedReadHalf>,
    to_server: OwnedWriteHalf,
    rules: Rules,
}

impl Connection {
    fn new(client: TcpStream, server: TcpStream, rules: Rules) -> Self {
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        Self {
            commands: BufReader::new(from_client),
            to_client,
            answers: BufReader::new(from_server),
            to_server,
            rules,
        }
    }

    /// Passes on one command after the other, so that the answers stay in order, and what the server pushes.
    async fn serve(mut self) -> std::io::Result<()> {
        loop {
            // Looking into a buffer can be given up at any time; reading a frame can't.
            tokio::select! {
                filled = self.commands.fill_buf() => { filled?; }
                filled = self.answers.fill_buf() => {
                    filled?;
                    self.pass_back().await?;
                    continue;
                }
            }
            let mut command = Vec::new();
            frame(&mut self.commands, &mut command).await?;
            let text = String::from_utf8_lossy(&command).into_owned();
            let name = text.split("\r\n").nth(2).unwrap_or_default().to_uppercase();
            match self.rule(&name) {
                Some(Act::Answer(bytes)) => self.to_client.write_all(&bytes).await?,
                Some(Act::AnswerAndClose(bytes)) => return self.to_client.write_all(&bytes).await,
                Some(Act::Silence) => std::future::pending().await,
                None => {
                    self.to_server.write_all(&command).await?;
                    // The answer to these is a push, or several.
                    let pushed = name.ends_with("SUBSCRIBE");
                    while !pushed && self.pass_back().await? == b'>' {}
                }
            }
        }
    }

    /// Passes one frame of the server on; returns its type.
    async fn pass_back(&mut self) -> std::io::Result<u8> {
        let mut answer = Vec::new();
        frame(&mut self.answers, &mut answer).await?;
        self.to_client.write_all(&answer).await?;
        Ok(answer.first().copied().unwrap_or_default())
    }

    fn rule(&self, name: &str) -> Option<Act> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = rules.iter().find(|(of, _)| of == name || of == "*");
        rule.map(|(_, act)| act.clone())
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
        let number = line
            .get(1..)
            .map_or(0, |rest| rest.trim().parse().unwrap_or(0));
        match line.as_bytes()[0] {
            b'$' | b'=' | b'!' => {
                // A length of -1 has no body.
                if let Ok(length) = usize::try_from(number) {
                    let mut body = vec![0; length + 2];
                    from.read_exact(&mut body).await?;
                    into.extend(body);
                }
            }
            b'*' | b'~' | b'>' => due += number.max(0),
            b'%' => due += 2 * number,
            _ => {}
        }
    }
    Ok(())
}
