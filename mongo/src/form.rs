//! Ids in the forms in which documents hold them.
//!
//! The product's ids are 12 bytes, stored as `ObjectId`. Other servers store some as their hexadecimal text, in
//! lower or in upper case, and some use ids of another kind altogether: such a document has an id that is derived
//! from its own one.

use std::fmt::Write;

use mongodb::bson::{Bson, RawBsonRef, RawDocumentBuf, cstr, oid::ObjectId};
use ticket_shared::id::Id;

/// The `ObjectId` of these bytes.
pub fn object_id(id: Id) -> ObjectId {
    ObjectId::from_bytes(id.bytes())
}

/// The texts that stand for an id: lower case, and upper case where that differs.
pub fn texts(id: Id) -> Vec<String> {
    let lower = id.to_string();
    let upper = lower.to_ascii_uppercase();
    if lower == upper {
        vec![lower]
    } else {
        vec![lower, upper]
    }
}

/// Every form of an id that a query looks for.
pub fn forms(id: Id) -> impl Iterator<Item = Bson> {
    std::iter::once(Bson::ObjectId(object_id(id))).chain(texts(id).into_iter().map(Bson::String))
}

/// The id in a value: an `ObjectId`, or its text. Mixed case is no form of an id, since no query could look for it.
pub fn id(value: RawBsonRef<'_>) -> Option<Id> {
    match value {
        RawBsonRef::ObjectId(id) => Some(Id::from_bytes(id.bytes())),
        RawBsonRef::String(text) => {
            let id: Id = text.parse().ok()?;
            texts(id).iter().any(|form| form == text).then_some(id)
        }
        _ => None,
    }
}

/// The id that a document of this collection has whose `_id` is of any kind: 24 hexadecimal digits in any case are
/// one; from anything else it is derived.
pub fn id_or_derived(collection: &str, value: RawBsonRef<'_>) -> Option<Id> {
    let digits = || value.as_str()?.parse().ok();
    id(value).or_else(digits).or_else(|| {
        let (kind, text) = key(value)?;
        Some(Id::of_legacy(collection, kind, &text))
    })
}

/// A value's kind and text, the same for values that MongoDB takes as equal. Numbers of any width are one kind.
fn key(value: RawBsonRef<'_>) -> Option<(&'static str, String)> {
    Some(match value {
        RawBsonRef::String(text) => ("text", text.to_owned()),
        RawBsonRef::Int32(number) => ("number", number.to_string()),
        RawBsonRef::Int64(number) => ("number", number.to_string()),
        RawBsonRef::Double(number) => ("number", number.to_string()),
        RawBsonRef::Boolean(is) => ("bool", is.to_string()),
        RawBsonRef::DateTime(date) => ("date", date.timestamp_millis().to_string()),
        RawBsonRef::Binary(binary) => {
            let subtype = u8::from(binary.subtype);
            ("binary", format!("{subtype}:{}", hexadecimal(binary.bytes)))
        }
        RawBsonRef::Document(document) => ("document", hexadecimal(document.as_bytes())),
        RawBsonRef::Decimal128(number) => ("decimal", number.to_string()),
        _ => return None,
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes whatever is written to it.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A value as a text, for where there is no BSON: in the entries of a log.
pub fn encode(value: RawBsonRef<'_>) -> String {
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("v"), value);
    hexadecimal(document.as_bytes())
}

/// The value in such a text.
pub fn decode(text: &str) -> Option<Bson> {
    let digits = text.as_bytes();
    let pairs = digits.chunks_exact(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    let bytes = pairs.collect::<Option<Vec<u8>>>()?;
    let document = RawDocumentBuf::from_bytes(bytes).ok()?;
    document.get("v").ok()??.try_into().ok()
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    fn read<T>(value: impl Into<Bson>, read: impl Fn(RawBsonRef<'_>) -> T) -> T {
        let document = RawDocumentBuf::try_from(&doc! { "v": value.into() }).unwrap();
        read(document.get("v").unwrap().unwrap())
    }

    #[test]
    fn every_form_that_is_read_is_a_form_that_is_looked_for() {
        let id_of: Id = "0123456789abcdefabcdef00".parse().unwrap();
        for form in forms(id_of) {
            assert_eq!(read(form, id), Some(id_of));
        }
        assert_eq!(forms(id_of).count(), 3);
        let digits: Id = "012345678901234567890123".parse().unwrap();
        assert_eq!(forms(digits).count(), 2);
        for other in ["0123456789abcdefABCDEF00", "TKT-1", ""] {
            assert_eq!(read(other, id), None, "{other}");
        }
    }

    #[test]
    fn other_ids_are_derived_and_told_apart() {
        let derived = |value: Bson| read(value, |value| id_or_derived("tickets", value)).unwrap();
        assert_eq!(derived(7.into()), derived(7_i64.into()));
        assert_eq!(derived(7.into()), derived(7.0.into()));
        assert_ne!(derived(7.into()), derived("7".into()));
        assert_ne!(derived("TKT-1".into()), derived("TKT-2".into()));
        assert_ne!(
            derived("TKT-1".into()),
            read("TKT-1", |value| id_or_derived("messages", value)).unwrap()
        );
        for id in [Bson::from(7), "TKT-1".into(), doc! { "a": 1 }.into()] {
            assert_eq!(decode(&read(id.clone(), encode)), Some(id));
        }
        assert_eq!(decode("7"), None);
        assert_eq!(
            read(Bson::Null, |value| id_or_derived("tickets", value)),
            None
        );
    }
}
