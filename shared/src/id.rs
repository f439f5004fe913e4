//! Ids: 12 bytes, shown as 24 hexadecimal digits, the form of a MongoDB `ObjectId`.
//!
//! An id is either random or derived from what makes a request the same request, so that a retry finds the
//! first one however late it comes: no table of seen keys has to live as long as the promise.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// The id of a ticket or a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 12]);

/// The text is not 24 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 24 hexadecimal digits")]
pub struct InvalidId;

impl Id {
    /// An id of these bytes.
    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// Its bytes, in the order in which they are shown.
    pub const fn bytes(self) -> [u8; 12] {
        self.0
    }

    /// A new id: the seconds since 1970 and 64 random bits, so that ids made one after the other lie side by
    /// side in MongoDB's index. A wrong clock does no harm.
    ///
    /// # Errors
    /// Where the system has no random numbers to give.
    pub fn fresh() -> std::io::Result<Self> {
        let seconds = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&seconds.to_be_bytes()[4..]);
        getrandom::fill(&mut bytes[4..]).map_err(std::io::Error::from)?;
        Ok(Self(bytes))
    }

    /// The id of the message that `sender` (a [`crate::domain::Person`]'s key) sent in `ticket` under its own `client_message_id`.
    ///
    /// The same three always give the same id, on every gateway and for ever: this is what makes a retried
    /// send one message.
    pub fn of_message(ticket: Self, sender: &str, client_message_id: &str) -> Self {
        Self::derived(
            "message",
            &[&ticket.0, sender.as_bytes(), client_message_id.as_bytes()],
        )
    }

    /// The id of the ticket that was created under an `Idempotency-Key`; `scope` is who owns the key, empty
    /// where callers carry no identity.
    pub fn of_ticket(scope: &str, idempotency_key: &str) -> Self {
        Self::derived("ticket", &[scope.as_bytes(), idempotency_key.as_bytes()])
    }

    /// The id of a document that another server stored under an id of its own kind.
    pub fn of_legacy(collection: &str, kind: &str, id: &str) -> Self {
        Self::derived(
            "legacy",
            &[collection.as_bytes(), kind.as_bytes(), id.as_bytes()],
        )
    }

    /// SHA-256 over length-prefixed parts, so that no two lists of parts collide by concatenation.
    fn derived(domain: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        hash.update(domain.as_bytes());
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let mut bytes = [0; 12];
        bytes.copy_from_slice(&digest[..12]);
        Self(bytes)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 24];
        for (i, byte) in self.0.iter().enumerate() {
            text[2 * i] = HEX[usize::from(byte >> 4)];
            text[2 * i + 1] = HEX[usize::from(byte & 15)];
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = text.as_bytes();
        if digits.len() != 24 {
            return Err(InvalidId);
        }
        let mut bytes = [0; 12];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn digit(ascii: u8) -> Result<u8, InvalidId> {
    match ascii {
        b'0'..=b'9' => Ok(ascii - b'0'),
        b'a'..=b'f' => Ok(ascii - b'a' + 10),
        b'A'..=b'F' => Ok(ascii - b'A' + 10),
        _ => Err(InvalidId),
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hex;
        impl de::Visitor<'_> for Hex {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("24 hexadecimal digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_agree_in_both_directions() {
        let id: Id = "0123456789abcdefABCDEF00".parse().unwrap();
        assert_eq!(id.to_string(), "0123456789abcdefabcdef00");
        assert_eq!(Id::from_bytes(id.bytes()), id);
        for bad in [
            "",
            "0123456789abcdefABCDEF0",
            "0123456789abcdefABCDEF0g",
            "{\"$gt\":\"\"}",
            "٠١٢٣٤٥٦٧٨٩٠١",
        ] {
            assert_eq!(bad.parse::<Id>(), Err(InvalidId), "{bad}");
        }
    }

    #[test]
    fn derived_ids_are_stable_and_do_not_collide_by_concatenation() {
        let ticket = Id::from_bytes([7; 12]);
        let first = Id::of_message(ticket, "ab", "c");
        assert_eq!(first, Id::of_message(ticket, "ab", "c"));
        assert_ne!(first, Id::of_message(ticket, "a", "bc"));
        // Fixed for ever: documents stored under it must be found by later versions.
        assert_eq!(first.to_string(), "43b0ef64301107256ecb9946");
        assert_ne!(
            Id::of_ticket("", "k").to_string(),
            Id::of_ticket("k", "").to_string()
        );
    }
}
