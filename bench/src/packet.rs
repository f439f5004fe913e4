//! Engine.IO 4 and Socket.IO 4 as text: what the load's clients read and write.
//!
//! Only what the product's server says over a websocket in the default namespace; anything else is [`Packet::Other`].

use serde_json::Value;

/// What the server sent.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Packet {
    /// The transport is open; the namespace may be asked for.
    Open,
    /// To be answered at once.
    Ping,
    /// The namespace let the client in.
    Connected,
    /// The server ends the namespace or the transport.
    Closed,
    /// An event with its first argument.
    Event(String, Value),
    /// The answer to the event that carried this id.
    Ack(u64, Value),
    /// Nothing that concerns the load.
    Other,
}

/// The answer to a ping.
pub(crate) const PONG: &str = "3";
/// The wish to enter the default namespace.
pub(crate) const CONNECT: &str = "40";

impl Packet {
    /// Reads one text frame.
    pub(crate) fn decode(text: &str) -> Self {
        match text.as_bytes() {
            [b'0', ..] => Self::Open,
            [b'1', ..] | [b'4', b'1' | b'4', ..] => Self::Closed,
            [b'2', ..] => Self::Ping,
            [b'4', b'0', ..] => Self::Connected,
            [b'4', b'2', ..] => event(&text[2..]).unwrap_or(Self::Other),
            [b'4', b'3', ..] => ack(&text[2..]).unwrap_or(Self::Other),
            _ => Self::Other,
        }
    }
}

/// An event that wants an answer under this id.
pub(crate) fn asking(id: u64, event: &str, payload: &Value) -> String {
    format!("42{id}[\"{event}\",{payload}]")
}

fn event(text: &str) -> Option<Packet> {
    let (_, arguments) = numbered(text)?;
    let mut arguments = arguments.into_iter();
    let Value::String(name) = arguments.next()? else {
        return None;
    };
    Some(Packet::Event(name, arguments.next().unwrap_or_default()))
}

fn ack(text: &str) -> Option<Packet> {
    let (id, arguments) = numbered(text)?;
    let answer = arguments.into_iter().next().unwrap_or_default();
    Some(Packet::Ack(id?, answer))
}

/// `12[…]`, where the number may be missing.
fn numbered(text: &str) -> Option<(Option<u64>, Vec<Value>)> {
    let start = text.find('[')?;
    let (id, arguments) = text.split_at(start);
    Some((id.parse().ok(), serde_json::from_str(arguments).ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn frames_are_read_as_the_server_writes_them() {
        let read = Packet::decode;
        assert_eq!(read(r#"0{"sid":"x","pingInterval":25000}"#), Packet::Open);
        assert_eq!(read("2"), Packet::Ping);
        assert_eq!(read(r#"40{"sid":"x"}"#), Packet::Connected);
        assert_eq!(read("41"), Packet::Closed);
        assert_eq!(read(r#"44{"message":"Invalid namespace"}"#), Packet::Closed);
        assert_eq!(
            read(r#"42["resync",{"a":1}]"#),
            Packet::Event("resync".into(), json!({"a": 1}))
        );
        assert_eq!(
            read(r#"4317[{"ok":true}]"#),
            Packet::Ack(17, json!({"ok": true}))
        );
        for other in ["", "6", "42", "42[1]", "43[{}]", "4é"] {
            assert_eq!(read(other), Packet::Other, "{other}");
        }
    }

    #[test]
    fn an_event_carries_the_id_of_its_answer() {
        assert_eq!(asking(3, "e", &json!({"a": 1})), r#"423["e",{"a":1}]"#);
    }
}
