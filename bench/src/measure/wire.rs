//! A Socket.IO connection that costs as little as it can: a load that works hard measures itself.
//!
//! Frames are handed on where they lie in the buffer, as bytes. What is written goes out unmasked in effect, by
//! a mask of zeros; nothing is compressed, because nobody asks for it.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use crate::narrow;

/// How long the server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a frame may take to be taken by the system.
const WRITING: u32 = 20_000;

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// The other side ended it.
    #[error("closed")]
    Closed,
    /// It takes too long.
    #[error("timed out")]
    TimedOut(#[from] tokio::time::error::Elapsed),
    /// No connection.
    #[error("tcp: {0}")]
    Tcp(#[from] std::io::Error),
    /// The server said something else than expected.
    #[error("protocol: {0}")]
    Protocol(&'static str),
}

/// The half that writes, from any thread.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    /// A frame is written in one piece.
    writing: Mutex<()>,
}

impl Line {
    /// Writes a text frame; waits, without the runtime, while the system takes no more.
    ///
    /// # Errors
    /// Where the connection is gone, or nobody reads.
    pub(crate) fn write(&self, text: &str) -> Result<(), Lost> {
        self.frame(1, text.as_bytes())
    }

    fn frame(&self, opcode: u8, payload: &[u8]) -> Result<(), Lost> {
        let frame = encode(opcode, payload);
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut written, mut tries) = (0, 0);
        while written < frame.len() {
            match self.stream.try_write(&frame[written..]) {
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock && tries < WRITING => {
                    tries += 1;
                    std::thread::park_timeout(Duration::from_micros(50));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A connection in the default namespace.
#[derive(Debug)]
pub(crate) struct Wire {
    /// The half that writes.
    pub line: Arc<Line>,
    buffer: Vec<u8>,
}

impl Wire {
    /// Connects and enters the default namespace.
    ///
    /// # Errors
    /// Where the server does not let it in, in time.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, Lost> {
        Self::over(TcpStream::connect(address), address).await
    }

    /// The same with room for next to nothing that is not read yet.
    ///
    /// # Errors
    /// As [`Wire::connect`].
    pub(crate) async fn connect_narrow(address: SocketAddr) -> Result<Self, Lost> {
        Self::over(narrow::connect(address), address).await
    }

    async fn over(
        stream: impl Future<Output = std::io::Result<TcpStream>>,
        address: SocketAddr,
    ) -> Result<Self, Lost> {
        timeout(PATIENCE, async {
            let mut stream = stream.await?;
            stream.set_nodelay(true)?;
            let request = format!(
                "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: {address}\r\n\
                 upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
                 sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            );
            tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await?;
            let mut buffer = Vec::new();
            let end = loop {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Err(Lost::Closed);
                }
                if let Some(at) = find(&buffer, b"\r\n\r\n") {
                    break at + 4;
                }
            };
            if !buffer.starts_with(b"HTTP/1.1 101") {
                return Err(Lost::Protocol("no websocket"));
            }
            buffer.drain(..end);
            let writing = Mutex::new(());
            let line = Arc::new(Line { stream, writing });
            let mut wire = Self { line, buffer };
            wire.wait_for(b"0").await?;
            wire.line.write("40")?;
            wire.wait_for(b"40").await?;
            Ok(wire)
        })
        .await?
    }

    /// Sends an event and waits for its answer: the whole frame. What else comes meanwhile is dropped.
    ///
    /// # Errors
    /// Where no answer comes, in time.
    pub(crate) async fn ask(
        &mut self,
        id: u64,
        event: &str,
        payload: &str,
    ) -> Result<Vec<u8>, Lost> {
        self.line.write(&format!("42{id}[\"{event}\",{payload}]"))?;
        let answer = format!("43{id}[");
        timeout(PATIENCE, self.wait_for(answer.as_bytes())).await?
    }

    async fn wait_for(&mut self, start: &[u8]) -> Result<Vec<u8>, Lost> {
        loop {
            let mut found = None;
            self.frames(|frame| {
                if found.is_none() && frame.starts_with(start) {
                    found = Some(frame.to_vec());
                }
            })?;
            match found {
                Some(frame) => return Ok(frame),
                None => self.fill().await?,
            }
        }
    }

    /// Waits until something comes, and hands on every Socket.IO packet of it. May be dropped while it waits.
    ///
    /// # Errors
    /// Where the connection ended.
    pub(crate) async fn read(&mut self, each: impl FnMut(&[u8])) -> Result<(), Lost> {
        self.fill().await?;
        self.frames(each)
    }

    async fn fill(&mut self) -> Result<(), Lost> {
        loop {
            self.line.stream.readable().await?;
            self.buffer.reserve(2048);
            match self.line.stream.try_read_buf(&mut self.buffer) {
                Ok(0) => return Err(Lost::Closed),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn frames(&mut self, mut each: impl FnMut(&[u8])) -> Result<(), Lost> {
        let mut start = 0;
        while let Some((opcode, payload)) = decode(&self.buffer[start..]) {
            let text = &self.buffer[start..][payload.clone()];
            start += payload.end;
            match (opcode, text) {
                // Engine.IO's ping.
                (1, b"2") => self.line.write("3")?,
                (1, text) => each(text),
                (9, ping) => self.line.frame(10, ping)?,
                (8, _) => return Err(Lost::Closed),
                _ => {}
            }
        }
        self.buffer.drain(..start);
        Ok(())
    }
}

fn encode(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => frame.push(0x80 | length),
        (_, Ok(length)) => {
            frame.push(0x80 | 0x7e);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 0x7f);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The opcode of the first frame, and where its payload lies, if all of it is there.
fn decode(bytes: &[u8]) -> Option<(u8, Range<usize>)> {
    let (first, second) = (bytes.first()?, bytes.get(1)?);
    let (head, length): (usize, usize) = match second & 0x7f {
        126 => (
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            (10, usize::try_from(length).ok()?)
        }
        length => (2, usize::from(length)),
    };
    let payload = head..head.checked_add(length)?;
    (bytes.len() >= payload.end).then_some((first & 0x0f, payload))
}

/// Where `part` begins.
pub(super) fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|here| here == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_found_where_they_end() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let sent = encode(1, &payload);
            // A server writes the same without the mask.
            let head = sent.len() - length - 4;
            let mut received = [&sent[..head], &payload[..]].concat();
            received[1] &= 0x7f;
            assert_eq!(decode(&received), Some((1, head..head + length)));
            assert_eq!(decode(&received[..received.len() - 1]), None, "{length}");
        }
        assert_eq!(decode(&[0x81]), None);
    }
}
