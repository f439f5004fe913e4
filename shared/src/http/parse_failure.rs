//! Answers to requests that can't be parsed: hyper writes those by itself, with no body and through no layer of ours. On
//! their way out they become problem documents with the id of a request, and the connection is closed so that they arrive.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use crate::{event::ErrorCode, id::Id};

/// Maximum time and number of bytes that are read and thrown away after such an answer: unread ones would reset the
/// connection, and the answer would be lost (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 8 * 1024 * 1024;

/// The stream of an HTTP server's connection.
#[derive(Debug)]
pub struct ParseFailures<S> {
    stream: S,
    failure: Option<Box<Failure>>,
}

/// The answer to a request that could not be parsed, on its way out.
#[derive(Debug)]
struct Failure {
    answer: Vec<u8>,
    written: usize,
    end: Option<Pin<Box<Sleep>>>,
    discarded: usize,
}

impl<S> ParseFailures<S> {
    /// Wraps the stream of one connection.
    pub const fn new(stream: S) -> Self {
        Self {
            stream,
            failure: None,
        }
    }

    /// The stream itself.
    pub const fn stream(&self) -> &S {
        &self.stream
    }
}

impl ParseFailures<TcpStream> {
    /// Writes that the header of a request did not come in time, as far as the stream takes it at once.
    pub fn time_out(&mut self) {
        let answer = answer("HTTP/1.1 408 Request Timeout", None);
        // A client that does not read loses nothing but the reason.
        let _ = answer.map(|answer| self.stream.try_write(&answer));
    }
}

/// Returns the answer to send instead of these bytes, if they are the server's own to a request that it can't parse: only
/// those have neither a body nor an id of a request.
fn instead(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.starts_with(b"HTTP/1.") {
        return None;
    }
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let (status, mut empty, mut date) = (lines.next()?, false, None);
    for line in lines {
        match line.split_once(": ")? {
            ("content-length", "0") => empty = true,
            ("connection", _) => {}
            ("date", _) => date = Some(line),
            _ => return None,
        }
    }
    if empty { answer(status, date) } else { None }
}

/// The answer with this status line; `None` if it is not one for a request that can't be read.
fn answer(status_line: &str, date: Option<&str>) -> Option<Vec<u8>> {
    let (status, title) = status_line.get("HTTP/1.1 ".len()..)?.split_once(' ')?;
    let (code, detail) = match status {
        "400" => (
            ErrorCode::InvalidPayload.as_str(),
            "the request line or the header is not HTTP/1.1",
        ),
        "408" => ("request_timeout", "the header did not come in time"),
        "414" => (
            ErrorCode::PayloadTooLarge.as_str(),
            "the request's target is too long",
        ),
        "431" => (
            ErrorCode::PayloadTooLarge.as_str(),
            "the header is too large, or has too many fields",
        ),
        _ => return None,
    };
    let status: u16 = status.parse().ok()?;
    let problem = json!({ "title": title, "status": status, "detail": detail, "code": code });
    let (body, id) = (problem.to_string(), Id::fresh().ok()?);
    tracing::debug!(request.id = %id, http.status = status, "request that can't be parsed");
    let date = date.map_or_else(String::new, |date| format!("{date}\r\n"));
    let answer = format!(
        "{status_line}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nx-request-id: {id}\r\n\
         x-content-type-options: nosniff\r\ncache-control: no-store\r\nconnection: close\r\n{date}\r\n{body}",
        body.len()
    );
    Some(answer.into_bytes())
}

impl<S: AsyncWrite + Unpin> ParseFailures<S> {
    /// Writes the answer that stands for `bytes`, if one does.
    fn poll_instead(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<bool>> {
        if self.failure.is_none() {
            let Some(answer) = instead(bytes) else {
                return Poll::Ready(Ok(false));
            };
            self.failure = Some(Box::new(Failure {
                answer,
                written: 0,
                end: None,
                discarded: 0,
            }));
        }
        let Some(failure) = &mut self.failure else {
            return Poll::Ready(Ok(false));
        };
        if failure.written == failure.answer.len() {
            return Poll::Ready(Ok(false));
        }
        while failure.written < failure.answer.len() {
            let rest = &failure.answer[failure.written..];
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            failure.written += written;
        }
        Poll::Ready(Ok(true))
    }
}

impl<S: AsyncRead + Unpin> ParseFailures<S> {
    /// Reads on after such an answer, within bounds, until the client closes its side.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(failure) = &mut self.failure else {
            return Poll::Ready(());
        };
        let end = failure.end.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        if end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut room = [0; 4 * 1024];
        while failure.discarded < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut room);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                break;
            }
            failure.discarded += buf.filled().len();
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ParseFailures<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ParseFailures<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if ready!(self.poll_instead(cx, buf))? {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
        if let (Some(only), None) = (filled.next(), filled.next())
            && ready!(self.poll_instead(cx, only))?
        {
            return Poll::Ready(Ok(only.len()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        self.poll_linger(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const BARE: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\
                        date: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n";

    /// What the client gets of what the server writes and then closes.
    async fn sent(bytes: &str) -> String {
        // Small, so that the answer does not fit at once.
        let (server, mut client) = tokio::io::duplex(16);
        let mut server = ParseFailures::new(server);
        let writes = async {
            server.write_all(bytes.as_bytes()).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let reads = async {
            client.write_all(b"more of").await.unwrap();
            let mut text = String::new();
            client.read_to_string(&mut text).await.unwrap();
            client.shutdown().await.unwrap();
            text
        };
        tokio::join!(writes, reads).1
    }

    #[tokio::test]
    async fn a_bare_answer_gets_its_reason_and_an_id() {
        let text = sent(BARE).await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], 431);
        assert_eq!(problem["code"], "payload_too_large");
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
        for field in [
            "connection: close",
            "content-type: application/problem+json",
            "x-request-id: ",
            "date: Mon, 01 Jan 2024",
            &format!("content-length: {}", body.len()),
        ] {
            assert!(head.contains(field), "{field}: {head}");
        }
    }

    #[tokio::test]
    async fn every_other_answer_is_sent_as_it_is() {
        for other in [
            BARE.replace("431", "404"),
            BARE.replace("date: ", "x-request-id: "),
            BARE.replace("length: 0", "length: 1"),
            BARE.replace("content-length: 0\r\n", ""),
            format!("{BARE}{BARE}"),
            format!("x{BARE}"),
            BARE[..BARE.len() - 1].to_owned(),
            "HTTP/1.1 400 Bad Request\r\n\r\n".to_owned(),
            "HTTP/1.1 4".to_owned(),
        ] {
            assert_eq!(sent(&other).await, other);
        }
    }
}
