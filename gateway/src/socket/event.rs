//! An event as it waits for its turn: its name, and its payload as text.
//!
//! The read loop takes an event apart and does not decode it. Decoded, JSON is up to thirty times as large as its text
//! (`[0,0,0,…]`, `[[[…]]]`), so that a bound on what waits would bound little; and who floods would be decoded for nothing.
//! Each payload is decoded when its turn comes, and its text is copied: a view of it would keep the whole buffer that the
//! websocket has read into.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use socketioxide::handler::Value as Packet;
use ticket_shared::{
    domain::limits,
    event::{Invalid, client, json::from_client},
};

use crate::error::Error;

/// The longest event name that is repeated in an answer, in characters.
const NAME: usize = 64;
/// The problem of what is no JSON, or nests deeper than is read.
const UNREADABLE: Error = Error::Malformed("must be JSON that can be read");

/// One event of a client.
#[derive(Debug)]
pub struct Event {
    /// Its name, cut where it is none of ours; there even where the payload can't be read.
    pub name: Cow<'static, str>,
    /// Its payload.
    pub payload: Result<Payload, Error>,
}

/// The first argument of an event, as text.
#[derive(Debug)]
pub struct Payload(Option<Box<RawValue>>);

impl Payload {
    /// The payload decoded; null if the event has none.
    ///
    /// # Errors
    /// It nests too deeply, or holds a number or a text that there is not.
    pub fn decode(self) -> Result<Value, Error> {
        match self.0 {
            Some(text) => from_client(text.get().as_bytes()).map_err(|_| UNREADABLE),
            None => Ok(Value::Null),
        }
    }
}

impl Event {
    /// Reads `["event", payload, …]`. More arguments than one are ignored, as the former server did. `attachments`: the
    /// event came with binary data.
    pub fn read(text: &str, attachments: bool) -> Self {
        if text.len() > limits::FRAME {
            return Self::refused(name_in(text), Error::TooLarge);
        }
        let Ok(arguments) = serde_json::from_str::<Arguments<'_>>(text) else {
            return Self::refused(name_in(text), UNREADABLE);
        };
        let Some(name) = arguments.name() else {
            let problem = "must begin with the event's name";
            return Self::refused(Cow::default(), Error::Malformed(problem));
        };
        if attachments {
            let problem = Invalid::new("payload", "must not hold binary data");
            return Self::refused(name, problem.into());
        }
        let payload = Payload(arguments.payload.map(ToOwned::to_owned));
        Self {
            name,
            payload: Ok(payload),
        }
    }

    /// The same for a packet of the library.
    pub(super) fn of(packet: &Packet) -> Self {
        match packet {
            Packet::Str(text, attachments) => {
                let attachments = attachments.as_ref().is_some_and(|all| !all.is_empty());
                Self::read(text, attachments)
            }
            Packet::Bytes(_) => Self::refused(Cow::default(), Error::Malformed("must be JSON")),
        }
    }

    fn refused(name: Cow<'static, str>, error: Error) -> Self {
        Self {
            name,
            payload: Err(error),
        }
    }

    /// The bytes that it holds on the heap.
    pub fn held(&self) -> usize {
        let payload = self.payload.as_ref().ok();
        let text = payload.and_then(|payload| payload.0.as_ref());
        self.name_held() + text.map_or(0, |text| text.get().len())
    }

    /// The bytes of its name on the heap.
    pub(super) fn name_held(&self) -> usize {
        match &self.name {
            Cow::Borrowed(_) => 0,
            Cow::Owned(name) => name.capacity(),
        }
    }
}

/// The name of an event that is not read any further.
pub(super) fn name_of(packet: &Packet) -> Cow<'static, str> {
    match packet {
        Packet::Str(text, _) => name_in(text),
        Packet::Bytes(_) => Cow::default(),
    }
}

fn name_in(text: &str) -> Cow<'static, str> {
    let start = text.strip_prefix("[\"").unwrap_or_default();
    short(start.split('"').next().unwrap_or_default())
}

/// A name of ours costs nothing to keep; of any other one only its beginning is.
fn short(name: &str) -> Cow<'static, str> {
    match client::ALL.into_iter().find(|known| *known == name) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(name.chars().take(NAME).collect()),
    }
}

/// The arguments of an event that are looked at.
struct Arguments<'a> {
    name: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
}

impl Arguments<'_> {
    fn name(&self) -> Option<Cow<'static, str>> {
        let name = self.name?.get();
        let plain = name.strip_prefix('"')?.strip_suffix('"')?;
        if plain.contains('\\') {
            let name: String = from_client(name.as_bytes()).ok()?;
            return Some(short(&name));
        }
        Some(short(plain))
    }
}

impl<'de> Deserialize<'de> for Arguments<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Array)
    }
}

struct Array;

impl<'de> Visitor<'de> for Array {
    type Value = Arguments<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the arguments of an event")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Arguments<'de>, A::Error> {
        let arguments = Arguments {
            name: array.next_element()?,
            payload: array.next_element()?,
        };
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> (String, Result<Value, Error>) {
        let Event { name, payload } = Event::read(text, false);
        (name.into_owned(), payload.and_then(Payload::decode))
    }

    #[test]
    fn the_first_argument_is_the_payload() {
        for (text, name, payload) in [
            (r#"["typing"]"#, "typing", Value::Null),
            (r#" [ "typing" , null ] "#, "typing", Value::Null),
            (
                r#"["typing",{"a":[1,"x"]},2,[]]"#,
                "typing",
                json!({"a": [1, "x"]}),
            ),
            (r#"["typ\u0069ng","\ud83d"]"#, "typing", json!("\u{fffd}")),
            (r#"["\ud83d",1]"#, "\u{fffd}", json!(1)),
            (r#"["",[]]"#, "", json!([])),
        ] {
            let (read, decoded) = read(text);
            assert_eq!((&*read, decoded.unwrap()), (name, payload), "{text}");
        }
    }

    #[test]
    fn what_can_not_be_read_keeps_its_name() {
        let deep = format!(r#"["typing",{}{}]"#, "[".repeat(10_000), "]".repeat(10_000));
        let long = format!(r#"["typing","{}"]"#, "x".repeat(limits::FRAME));
        for text in [
            r#"["typing",{]"#,
            r#"["typing",1e999]"#,
            r#"["typing","\ux"]"#,
            r#"["typing"] x"#,
            &deep,
            &long,
        ] {
            let (name, payload) = read(text);
            assert!(name == "typing" && payload.is_err(), "{name}");
        }
        for text in [
            "",
            "[",
            "[]",
            "{}",
            "[1]",
            "[null,{}]",
            "\"typing\"",
            "[[\"typing\"]]",
        ] {
            let (name, payload) = read(text);
            assert!(name.is_empty() && payload.is_err(), "{text}");
        }
        let Event { name, payload } = Event::read(r#"["typing",{}]"#, true);
        assert!(name == "typing" && payload.is_err(), "attachments");
    }

    #[test]
    fn a_foreign_name_is_cut() {
        let (name, _) = read(&format!("[\"{}\"]", "\u{1f600}".repeat(1_000)));
        assert_eq!(name.chars().count(), NAME);
    }
}
