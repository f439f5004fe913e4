//! The messages of the load: what they carry is all that is needed to tell, where they arrive, who sent them and
//! when they should have been sent.

use std::time::Instant;

use super::wire::find;

/// What a person writes, on average, after the load's own words.
const TEXT: &str =
    "Good morning, my order has not arrived yet, and the page says that it was delivered.";
const MARK: &[u8] = b"\"content\":\"b|";
const DELIVERY: &[u8] = b"42[\"message_received\",";

/// What a message says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tag {
    /// The number of its sender.
    pub sender: u32,
    /// Its number among those of the sender, from 1.
    pub number: u64,
    /// When it should have been sent, in microseconds of the load's clock.
    pub at: u64,
}

/// A clock for everybody in one load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Starts at 0.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Microseconds since the start.
    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The packet that sends a message and wants its answer under `id`.
pub(crate) fn sending(id: u64, ticket: &str, tag: Tag) -> String {
    let Tag { sender, number, at } = tag;
    let side = if sender.is_multiple_of(2) {
        "user"
    } else {
        "agent"
    };
    format!(
        "42{id}[\"send_message\",{{\"ticketId\":\"{ticket}\",\"senderId\":\"{side}-{sender}\",\
         \"senderType\":\"{side}\",\"senderName\":\"Person {sender}\",\
         \"content\":\"b|{sender}|{number}|{at}|{TEXT}\"}}]"
    )
}

/// The payload with which a person joins.
pub(crate) fn joining(ticket: &str, person: u32) -> String {
    let side = if person.is_multiple_of(2) {
        "user"
    } else {
        "agent"
    };
    format!(
        "{{\"ticketId\":\"{ticket}\",\"userId\":\"{side}-{person}\",\"userType\":\"{side}\",\
         \"userName\":\"Person {person}\"}}"
    )
}

/// What the load wants to know of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// A message arrived.
    Delivered(Tag),
    /// The event with this id was answered: with success or not.
    Answered(u64, bool),
    /// Anything else.
    Other,
}

/// Reads a packet without making a tree of it.
pub(crate) fn hear(packet: &[u8]) -> Heard {
    if packet.starts_with(DELIVERY) {
        return tag(packet).map_or(Heard::Other, Heard::Delivered);
    }
    let Some((id, rest)) = packet.strip_prefix(b"43").and_then(digits) else {
        return Heard::Other;
    };
    Heard::Answered(id, find(rest, b"\"ok\":true").is_some())
}

fn tag(packet: &[u8]) -> Option<Tag> {
    let start = find(packet, MARK)? + MARK.len();
    let (sender, rest) = digits(&packet[start..])?;
    let (number, rest) = digits(rest.strip_prefix(b"|")?)?;
    let (at, _) = digits(rest.strip_prefix(b"|")?)?;
    let sender = u32::try_from(sender).ok()?;
    Some(Tag { sender, number, at })
}

fn digits(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
    let number = std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()?;
    Some((number, &bytes[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_on_arrival_what_it_said_when_it_was_sent() {
        let tag = Tag {
            sender: 7,
            number: 12,
            at: 1_234_567,
        };
        let sent = sending(99, "65f0", tag);
        let content = find(sent.as_bytes(), b"\"content\"").unwrap();
        let arrived = format!(
            "42[\"message_received\",{{\"message\":{{{}",
            &sent[content..]
        );
        assert_eq!(hear(arrived.as_bytes()), Heard::Delivered(tag));
        assert!(serde_json::from_str::<serde_json::Value>(&sent[4..]).is_ok());
    }

    #[test]
    fn answers_are_told_from_refusals() {
        assert_eq!(hear(b"4317[{\"ok\":true}]"), Heard::Answered(17, true));
        assert_eq!(hear(b"4317[{\"ok\":false}]"), Heard::Answered(17, false));
        for other in ["42[\"user_joined\",{}]", "43[{}]", "4317", "", "40{}"] {
            assert_eq!(hear(other.as_bytes()), Heard::Other, "{other}");
        }
    }
}
