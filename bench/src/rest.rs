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

/// The sum of one of the metrics at `address`: of every line that begins with `name`.
///
/// # Errors
/// No answer within a second, or one without such a line.
pub(crate) async fn metric(address: &str, name: &str) -> Result<f64, Error> {
    let path = "/metrics";
    let answer = timeout(Duration::from_secs(1), exchange(address, "GET", path, "")).await??;
    sum(&String::from_utf8_lossy(&answer), name).ok_or(Error::Malformed)
}

/// Only the status, and not patiently.
///
/// # Errors
/// No answer within a second.
pub(crate) async fn status(address: &str, path: &str) -> Result<u16, Error> {
    let asked = timeout(Duration::from_secs(1), ask(address, "GET", path, ""));
    Ok(asked.await??.0)
}

/// The status and the JSON, whatever the status.
///
/// # Errors
/// No answer within a second.
pub(crate) async fn answer(address: &str, path: &str) -> Result<(u16, Value), Error> {
    timeout(Duration::from_secs(1), ask(address, "GET", path, "")).await?
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
    read(&exchange(address, method, path, body).await?).ok_or(Error::Malformed)
}

/// Everything that is answered.
async fn exchange(address: &str, method: &str, path: &str, body: &str) -> Result<Vec<u8>, Error> {
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
    Ok(answer)
}

fn sum(text: &str, name: &str) -> Option<f64> {
    let lines = text.lines().filter(|line| line.starts_with(name));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.reduce(|sum, value| sum + value)
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
    fn a_metric_is_summed_over_its_labels() {
        let text = "# HELP refused x\nrefused_total{reason=\"a\"} 2\nrefused_total{reason=\"b\"} 3\nsockets 7\n";
        assert_eq!(sum(text, "refused_total{"), Some(5.0));
        assert_eq!(sum(text, "sockets "), Some(7.0));
        assert_eq!(sum(text, "nothing "), None);
    }

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
