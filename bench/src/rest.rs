//! The little HTTP that the checker needs: one request, one connection, JSON.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No connection.
    #[error("http: {0}")]
    Tcp(#[from] std::io::Error),
    /// It took too long.
    #[error("http: no answer in time")]
    TimedOut(#[from] tokio::time::error::Elapsed),
    /// It was not as HTTP has it.
    #[error("http: not an answer")]
    Malformed,
    /// Another status than wanted.
    #[error("{path}: status {status}")]
    Status {
        /// What was asked for.
        path: String,
        /// The answer.
        status: u16,
    },
}

/// Asks for `path` at `address` (`host:port`) and returns the JSON of a 2xx answer.
///
/// # Errors
/// Any other answer, or none.
pub(crate) async fn get(address: &str, path: &str) -> Result<Value, Error> {
    wanted(
        path,
        timeout(PATIENCE, ask(address, "GET", path, "")).await??,
    )
}

/// Sends `body` to `path` under an idempotency key and returns the JSON of a 2xx answer.
///
/// # Errors
/// Any other answer, or none.
pub(crate) async fn post(address: &str, path: &str, body: &Value) -> Result<Value, Error> {
    let body = body.to_string();
    wanted(
        path,
        timeout(PATIENCE, ask(address, "POST", path, &body)).await??,
    )
}

/// Only the status, and not patiently.
///
/// # Errors
/// No answer within a second.
pub(crate) async fn status(address: &str, path: &str) -> Result<u16, Error> {
    let asked = timeout(Duration::from_secs(1), ask(address, "GET", path, ""));
    Ok(asked.await??.0)
}

fn wanted(path: &str, (status, body): (u16, Value)) -> Result<Value, Error> {
    if (200..300).contains(&status) {
        return Ok(body);
    }
    Err(Error::Status {
        path: path.to_owned(),
        status,
    })
}

async fn ask(address: &str, method: &str, path: &str, body: &str) -> Result<(u16, Value), Error> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    read(&answer).ok_or(Error::Malformed)
}

/// The status, and the body where it is JSON that stands there in one piece.
fn read(answer: &[u8]) -> Option<(u16, Value)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = serde_json::from_slice(&answer[end + 4..]).unwrap_or_default();
    Some((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"a\":1}";
        assert_eq!(read(answer), Some((200, serde_json::json!({"a": 1}))));
        assert_eq!(
            read(b"HTTP/1.1 503 x\r\n\r\nplain"),
            Some((503, Value::Null))
        );
        assert_eq!(read(b"HTTP/1.1 200"), None);
    }
}
