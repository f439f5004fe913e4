//! Fields of documents, read with forgiveness: what is not of a usable type is as good as absent.
//!
//! The former server's schema was loose (ids as texts, times as texts, numbers of any width), and what people
//! put into a database by hand is looser. Nothing here fails or panics.

use mongodb::bson::{RawBsonRef, RawDocument};
use ticket_shared::id::Id;

use crate::{date, form};

/// The fields of one document.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a RawDocument);

impl<'a> Fields<'a> {
    /// The value, unless it is null. Bytes that are no BSON count as absent.
    pub fn value(self, key: &str) -> Option<RawBsonRef<'a>> {
        let value = self.0.get(key).ok().flatten()?;
        (!matches!(value, RawBsonRef::Null | RawBsonRef::Undefined)).then_some(value)
    }

    /// A text.
    pub fn text(self, key: &str) -> Option<String> {
        self.value(key)?.as_str().map(str::to_owned)
    }

    /// An id of a person, which some clients' schemas keep as an object id or a number.
    pub fn person(self, key: &str) -> Option<String> {
        person(self.value(key)?)
    }

    /// The texts in a list, or those in a text alone, between commas; ids and numbers are their texts.
    pub fn texts(self, key: &str) -> Vec<String> {
        match self.value(key) {
            Some(RawBsonRef::Array(list)) => list
                .into_iter()
                .filter_map(|item| person(item.ok()?))
                .collect(),
            Some(RawBsonRef::String(text)) => {
                let parts = text.split([',', '،']).map(str::trim);
                parts
                    .filter(|part| !part.is_empty())
                    .map(str::to_owned)
                    .collect()
            }
            Some(value) => person(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// A whole number that is not negative, of any width.
    pub fn number(self, key: &str) -> Option<u64> {
        match self.value(key)? {
            RawBsonRef::Int32(number) => number.try_into().ok(),
            RawBsonRef::Int64(number) => number.try_into().ok(),
            RawBsonRef::Double(number) => integer(number)?.try_into().ok(),
            _ => None,
        }
    }

    /// Whether it is true.
    pub fn flag(self, key: &str) -> bool {
        matches!(self.value(key), Some(RawBsonRef::Boolean(true)))
    }

    /// A point in time in ms since 1970, in any form that [`date`] knows.
    pub fn time(self, key: &str) -> Option<i64> {
        date::millis(self.value(key)?)
    }

    /// An id, stored as such or as its text.
    pub fn id(self, key: &str) -> Option<Id> {
        form::id(self.value(key)?)
    }

    /// The fields of a document within.
    pub fn within(self, key: &str) -> Option<Self> {
        self.value(key)?.as_document().map(Self)
    }

    /// Who a ticket is assigned to: id and name. The id is the first of `agentId`, `id` and `_id` that is
    /// there, or the field itself where it is no document; the counts' pipeline has the same rule.
    pub fn agent(self, key: &str) -> Option<(String, String)> {
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

/// The text of an id of a person, of a label: anything that has one text.
pub fn person(value: RawBsonRef<'_>) -> Option<String> {
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
