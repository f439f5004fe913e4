//! Fields of documents, read with forgiveness: what is not of a usable type is as good as absent.
//!
//! The former server's schema was loose (ids as texts, times as texts, numbers of any width), and what people
//! put into a database by hand is looser. Nothing here fails or panics.

use mongodb::bson::{RawBsonRef, RawDocument};
use ticket_shared::id::Id;

/// The beginning of the year 0. Dates of a database reach beyond what RFC 3339 can write; cut to it, they keep
/// their order.
const FIRST_TIME: i64 = -62_167_219_200_000;

/// Nearly the end of the year 9999.
const LAST_TIME: i64 = 253_402_207_200_000;

/// The fields of one document.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a RawDocument);

impl<'a> Fields<'a> {
    /// The value, unless it is null. Bytes that are no BSON count as absent.
    fn value(self, key: &str) -> Option<RawBsonRef<'a>> {
        let value = self.0.get(key).ok().flatten()?;
        (!matches!(value, RawBsonRef::Null | RawBsonRef::Undefined)).then_some(value)
    }

    /// A text.
    pub(super) fn text(self, key: &str) -> Option<String> {
        self.value(key)?.as_str().map(str::to_owned)
    }

    /// An id of a person, which some clients' schemas keep as an object id or a number.
    pub(super) fn person(self, key: &str) -> Option<String> {
        person(self.value(key)?)
    }

    /// The texts in a list, or a text alone.
    pub(super) fn texts(self, key: &str) -> Vec<String> {
        match self.value(key) {
            Some(RawBsonRef::String(text)) => vec![text.to_owned()],
            Some(RawBsonRef::Array(list)) => list
                .into_iter()
                .filter_map(|item| item.ok()?.as_str().map(str::to_owned))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// A whole number that is not negative, of any width.
    pub(super) fn number(self, key: &str) -> Option<u64> {
        match self.value(key)? {
            RawBsonRef::Int32(number) => number.try_into().ok(),
            RawBsonRef::Int64(number) => number.try_into().ok(),
            RawBsonRef::Double(number) => integer(number)?.try_into().ok(),
            _ => None,
        }
    }

    /// Whether it is true.
    pub(super) fn flag(self, key: &str) -> bool {
        matches!(self.value(key), Some(RawBsonRef::Boolean(true)))
    }

    /// A point in time in ms since 1970: a date, an RFC 3339 text, or such a number.
    pub(super) fn time(self, key: &str) -> Option<i64> {
        let ms = match self.value(key)? {
            RawBsonRef::DateTime(date) => date.timestamp_millis(),
            RawBsonRef::Timestamp(stamp) => i64::from(stamp.time) * 1_000,
            RawBsonRef::String(text) => text.parse::<jiff::Timestamp>().ok()?.as_millisecond(),
            RawBsonRef::Int64(number) => number,
            RawBsonRef::Double(number) => integer(number)?,
            _ => return None,
        };
        Some(ms.clamp(FIRST_TIME, LAST_TIME))
    }

    /// An id, stored as such or as its text.
    pub(super) fn id(self, key: &str) -> Option<Id> {
        match self.value(key)? {
            RawBsonRef::ObjectId(id) => Some(Id::from_bytes(id.bytes())),
            RawBsonRef::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The fields of a document within.
    pub(super) fn within(self, key: &str) -> Option<Self> {
        self.value(key)?.as_document().map(Self)
    }

    /// Who a ticket is assigned to: id and name. The id is the first of `agentId`, `id` and `_id` that is
    /// there, or the field itself where it is no document; the counts' pipeline has the same rule.
    pub(super) fn agent(self, key: &str) -> Option<(String, String)> {
        let value = self.value(key)?;
        let Some(fields) = value.as_document().map(Self) else {
            return person(value).map(|id| (id, String::new()));
        };
        let id = ["agentId", "id", "_id"]
            .into_iter()
            .find_map(|key| fields.value(key))?;
        let name = fields.text("agentName").or_else(|| fields.text("name"));
        Some((person(id)?, name.unwrap_or_default()))
    }
}

fn person(value: RawBsonRef<'_>) -> Option<String> {
    match value {
        RawBsonRef::String(text) if !text.is_empty() => Some(text.to_owned()),
        RawBsonRef::ObjectId(id) => Some(id.to_hex()),
        RawBsonRef::Int32(number) => Some(number.to_string()),
        RawBsonRef::Int64(number) => Some(number.to_string()),
        RawBsonRef::Double(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The whole number that a double holds.
fn integer(number: f64) -> Option<i64> {
    // Doubles count exactly up to here.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "within the range that doubles count exactly"
    )]
    (number.abs() <= EXACT).then_some(number as i64)
}
