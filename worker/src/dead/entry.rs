//! A parked entry as operators see it: what the parking noted, and what can be read of the entry itself.
//!
//! Whatever is shown without being asked for is a number, a name that the product gave, or a time: never the
//! words of people, who may have written anything.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use serde::Deserialize;
use ticket_shared::{
    id::Id,
    stream::{Entry, FIELD},
    time::Time,
};

use crate::{delivery::Delivered, fold::kind, stream_id::StreamId};

/// What names a parked entry: the partition, and the place in its dead stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EntryId {
    pub(super) partition: u16,
    pub(super) place: StreamId,
}

/// The text does not name an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an id as `dead list` shows them, such as 3:1763861116007-0")]
pub struct NoEntryId;

impl FromStr for EntryId {
    type Err = NoEntryId;

    fn from_str(text: &str) -> Result<Self, NoEntryId> {
        let (partition, place) = text.split_once(':').ok_or(NoEntryId)?;
        Ok(Self {
            partition: partition.parse().map_err(|_| NoEntryId)?,
            place: StreamId::parse(place).ok_or(NoEntryId)?,
        })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.place)
    }
}

/// An entry in a dead stream.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) id: EntryId,
    /// Why it is there.
    pub(super) reason: Option<String>,
    /// How often it was tried.
    pub(super) tries: Option<u64>,
    /// Its id in the events stream.
    pub(super) origin: Option<String>,
    /// When it was parked, by Redis' clock.
    pub(super) at: Option<Time>,
    /// Its own fields.
    pub(super) fields: Vec<(Bytes, Bytes)>,
    /// What they say.
    pub(super) about: About,
}

/// What can be read of an entry. One of a later version, or a damaged one, may still tell some of it.
#[derive(Debug, Default)]
pub(super) struct About {
    pub(super) version: Option<u64>,
    pub(super) kind: Option<String>,
    pub(super) ticket: Option<Id>,
    pub(super) seq: Option<u64>,
    /// All of it, where this version understands it.
    pub(super) entry: Option<Entry>,
}

impl Parked {
    pub(super) fn of(raw: Delivered) -> Option<Self> {
        let id = EntryId {
            partition: raw.partition,
            place: StreamId::parse(&raw.id)?,
        };
        let mut fields = raw.fields;
        let mut noted = [const { None }; 4];
        // The parking's own notes come first; the entry's fields may have the same names.
        if fields.len() >= 4 && fields.iter().map(|(name, _)| name).take(4).eq(NOTES) {
            for (place, (_, value)) in noted.iter_mut().zip(fields.drain(..4)) {
                *place = Some(plain(&value));
            }
        }
        let [reason, tries, origin, at] = noted;
        let about = fields.iter().find(|(name, _)| name == FIELD);
        Some(Self {
            id,
            reason,
            tries: tries.and_then(|tries| tries.parse().ok()),
            origin,
            at: at.and_then(|at| at.parse().ok()).map(Time),
            about: about.map_or_else(About::default, |(_, bytes)| About::read(bytes)),
            fields,
        })
    }

    /// The number in its ticket's log that nobody has to wait for any more once the entry is gone, and the
    /// ticket.
    pub(super) fn settles(&self) -> Option<(Id, (u64, u64))> {
        let range = match &self.about.entry {
            Some(entry) => entry.covers(),
            None => (self.about.seq?, self.about.seq?),
        };
        Some((self.about.ticket?, range))
    }
}

/// What the parking notes, in its order.
const NOTES: [&str; 4] = ["reason", "tries", "id", "at"];

impl About {
    fn read(bytes: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Probe {
            v: Option<u64>,
            t: Option<Id>,
            s: Option<u64>,
            c: Option<serde_json::Value>,
        }
        let Ok(probe) = serde_json::from_slice::<Probe>(bytes) else {
            return Self::default();
        };
        let entry = Entry::decode(bytes).ok();
        let kind = match (&entry, &probe.c) {
            (Some(entry), _) => Some(kind(&entry.change).to_owned()),
            (None, Some(serde_json::Value::Object(change))) => change.keys().next().cloned(),
            (None, Some(serde_json::Value::String(change))) => Some(change.clone()),
            _ => None,
        };
        Self {
            version: probe.v,
            kind: kind.filter(|kind| is_name(kind)),
            ticket: probe.t,
            seq: probe.s,
            entry,
        }
    }
}

/// Whether a word could be the name of a kind. Anything else is not shown.
fn is_name(word: &str) -> bool {
    let letters = |c: char| c.is_ascii_lowercase() || c == '_';
    (1..=24).contains(&word.len()) && word.chars().all(letters)
}

/// Bytes as a text that changes nothing on a terminal.
pub(super) fn plain(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for c in String::from_utf8_lossy(bytes).chars() {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Log, id};

    fn about(text: &str) -> About {
        About::read(text.as_bytes())
    }

    #[test]
    fn ids_are_read_as_they_are_shown() {
        let id: EntryId = "3:1763861116007-2".parse().unwrap();
        assert_eq!(id.to_string(), "3:1763861116007-2");
        for bad in [
            "",
            "3",
            "3:",
            "3:5",
            "x:5-0",
            "70000:5-0",
            "3:5-x",
            "-1:5-0",
        ] {
            assert_eq!(bad.parse::<EntryId>(), Err(NoEntryId), "{bad}");
        }
    }

    #[test]
    fn what_can_be_read_is_told() {
        let log = Log::opened(id(1, 1));
        let text = serde_json::to_string(&log.entries[0]).unwrap();
        let known = about(&text);
        assert_eq!(known.kind.as_deref(), Some("created"));
        assert_eq!((known.ticket, known.seq), (Some(log.ticket), Some(1)));
        assert!(known.entry.is_some());

        let ticket = log.ticket;
        let newer = about(&format!(
            r#"{{"v":9,"t":"{ticket}","s":4,"c":{{"merged":{{"into":"x"}}}}}}"#
        ));
        assert_eq!(newer.kind.as_deref(), Some("merged"));
        assert_eq!((newer.version, newer.seq), (Some(9), Some(4)));
        assert!(newer.entry.is_none());

        let odd = about(r#"{"c":{"What a person wrote":1}}"#);
        assert!(odd.kind.is_none() && odd.ticket.is_none());
        assert!(about("\u{1b}{").version.is_none());
    }

    #[test]
    fn notes_are_told_from_fields_of_the_same_name() {
        let field = |name: &str, value: &str| (name.to_owned().into(), value.to_owned().into());
        let raw = |fields: &[(&str, &str)]| Delivered {
            partition: 3,
            id: "5-0".into(),
            fields: fields.iter().map(|(n, v)| field(n, v)).collect(),
        };
        let notes = [
            ("reason", "newer: \u{1b}[2J"),
            ("tries", "5"),
            ("id", "4-0"),
            ("at", "0"),
            ("reason", "own"),
        ];
        let parked = Parked::of(raw(&notes)).unwrap();
        assert_eq!(parked.reason.as_deref(), Some("newer: \\u{1b}[2J"));
        assert_eq!((parked.tries, parked.at), (Some(5), Some(Time(0))));
        assert_eq!(parked.fields, [field("reason", "own")]);

        let foreign = Parked::of(raw(&notes[1..])).unwrap();
        assert_eq!((foreign.reason, foreign.fields.len()), (None, 4));
    }
}
