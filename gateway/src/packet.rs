//! Packets of the Socket.IO protocol, written once for all who get them.
//!
//! The library would write each again for every socket. What stands here is what
//! <https://socket.io/docs/v4/socket-io-protocol/> says of events and acknowledgements in the namespace `/`, within a
//! message of <https://socket.io/docs/v4/engine-io-protocol/>.

use std::io::Write;

use engineioxide::{Outlet, SharedText};
use serde::Serialize;
use tokio::sync::mpsc::error::TrySendError;

/// There was no room for packets: the client does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// An event with one argument.
///
/// # Errors
/// The argument can't be written as JSON.
pub fn event<T: Serialize>(name: &str, argument: &T) -> Result<SharedText, serde_json::Error> {
    written(argument, |text| write!(text, "42[\"{name}\","))
}

/// The answer to the event with this id.
///
/// # Errors
/// The answer can't be written as JSON.
pub fn ack<T: Serialize>(id: i64, answer: &T) -> Result<SharedText, serde_json::Error> {
    written(answer, |text| write!(text, "43{id}["))
}

fn written<T: Serialize>(
    argument: &T,
    begin: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
) -> Result<SharedText, serde_json::Error> {
    let mut text = Vec::with_capacity(512);
    begin(&mut text).map_err(serde_json::Error::io)?;
    serde_json::to_writer(&mut text, argument)?;
    text.push(b']');
    std::str::from_utf8(&text)
        .ok()
        .and_then(SharedText::new)
        .ok_or_else(|| serde::ser::Error::custom("JSON is UTF-8"))
}

/// Sends packets, in the order of all that this client is sent. Nothing happens where the client is gone.
///
/// # Errors
/// [`Full`]: none of them is sent, and the session is cut off.
pub fn send(packets: &[SharedText], outlet: &Outlet) -> Result<(), Full> {
    match outlet.send(packets) {
        Err(TrySendError::Full(())) => Err(Full),
        Ok(()) | Err(TrySendError::Closed(())) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(packet: Result<SharedText, serde_json::Error>) -> String {
        packet.unwrap().to_string()
    }

    #[test]
    fn packets_are_what_the_protocol_says() {
        let said = event("said", &serde_json::json!({ "text": "\"مرحبا\"" }));
        assert_eq!(text(said), r#"2["said",{"text":"\"مرحبا\""}]"#);
        assert_eq!(text(ack(17, &[1, 2])), "317[[1,2]]");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let map = std::collections::HashMap::from([([1], 2)]);
        assert!(event("said", &map).is_err());
    }
}
