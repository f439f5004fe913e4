//! Payloads that clients send, read field by field.
//!
//! Reading by hand instead of deriving is deliberate: the contract promises the name of the field that is
//! wrong, limits after trimming, and that nothing of the input comes back in an error.

use serde_json::{Map, Value};

use crate::{
    domain::limits,
    id::Id,
    text::{is_exact_id, shows_nothing},
};

mod events;
mod people;

pub use events::{
    AssignAgent, JoinTicket, LeaveTicket, NewTicket, RefreshToken, Revoke, SendMessage,
    StatusChange, Typing,
};

/// A field that is not as the contract wants it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Invalid {
    /// The field's name; empty where the payload as a whole is wrong.
    pub field: String,
    /// What is wrong, for a person to read; never repeats the input.
    pub problem: String,
}

impl Invalid {
    /// A problem with one field.
    pub fn new(field: &str, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// Reads the fields of one JSON object.
#[derive(Debug)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// The fields of `payload`.
    ///
    /// # Errors
    /// Where it is not an object.
    pub fn of(payload: Value) -> Result<Self, Invalid> {
        match payload {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(Invalid::new("payload", "must be an object")),
        }
    }

    /// Whether the field is there and not null.
    pub fn has(&self, field: &str) -> bool {
        self.0.get(field).is_some_and(|value| !value.is_null())
    }

    /// A text of 1 to `max` characters after trimming.
    ///
    /// # Errors
    /// Missing, not a text, empty, too long, or holding a NUL.
    pub fn text(&mut self, field: &str, max: usize) -> Result<String, Invalid> {
        self.optional_text(field, max)?
            .ok_or_else(|| Invalid::new(field, "is required"))
    }

    /// The same, or nothing where the field is missing or null.
    ///
    /// # Errors
    /// As [`Fields::text`], less missing.
    pub fn optional_text(&mut self, field: &str, max: usize) -> Result<Option<String>, Invalid> {
        let Some(text) = self.take_text(field)? else {
            return Ok(None);
        };
        let trimmed = text.trim();
        if shows_nothing(trimmed) {
            return Err(Invalid::new(field, "must not be empty"));
        }
        within(field, trimmed, max)?;
        Ok(Some(if trimmed.len() == text.len() {
            text
        } else {
            trimmed.to_owned()
        }))
    }

    /// A text of up to `max` characters that may be empty; missing counts as empty.
    ///
    /// # Errors
    /// Not a text, too long, or holding a NUL.
    pub fn any_text(&mut self, field: &str, max: usize) -> Result<String, Invalid> {
        let text = self.take_text(field)?.unwrap_or_default();
        let trimmed = text.trim();
        if shows_nothing(trimmed) {
            return Ok(String::new());
        }
        within(field, trimmed, max)?;
        Ok(trimmed.to_owned())
    }

    /// A text of 1 to `max` characters, kept to the letter, or nothing.
    ///
    /// # Errors
    /// Not a text, empty, or too long.
    pub fn exact_text(&mut self, field: &str, max: usize) -> Result<Option<String>, Invalid> {
        let Some(text) = self.take_text(field)? else {
            return Ok(None);
        };
        if text.is_empty() {
            return Err(Invalid::new(field, "must not be empty"));
        }
        within(field, &text, max)?;
        Ok(Some(text))
    }

    /// An id that is compared as it is, or nothing.
    ///
    /// # Errors
    /// Not a text of 1 to `max` characters, or one with control characters or with white space at its ends.
    pub fn exact_id(&mut self, field: &str, max: usize) -> Result<Option<String>, Invalid> {
        match self.take_text(field)? {
            None => Ok(None),
            Some(text) if is_exact_id(&text, max) => Ok(Some(text)),
            Some(_) => Err(Invalid::new(
                field,
                format!(
                    "must have 1 to {max} characters, no control characters, no white space at its ends"
                ),
            )),
        }
    }

    /// An id of 24 hexadecimal digits.
    ///
    /// # Errors
    /// Missing, or anything else.
    pub fn id(&mut self, field: &str) -> Result<Id, Invalid> {
        let text = self
            .take_text(field)?
            .ok_or_else(|| Invalid::new(field, "is required"))?;
        text.parse()
            .map_err(|error: crate::id::InvalidId| Invalid::new(field, error.to_string()))
    }

    /// A truth value.
    ///
    /// # Errors
    /// Missing, or anything else.
    pub fn flag(&mut self, field: &str) -> Result<bool, Invalid> {
        self.optional_flag(field)?
            .ok_or_else(|| Invalid::new(field, "is required"))
    }

    /// A truth value, or nothing.
    ///
    /// # Errors
    /// Anything but `true` and `false`.
    pub fn optional_flag(&mut self, field: &str) -> Result<Option<bool>, Invalid> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(Invalid::new(field, "must be true or false")),
        }
    }

    /// A whole number from 0, or nothing.
    ///
    /// # Errors
    /// Anything else.
    pub fn optional_number(&mut self, field: &str) -> Result<Option<u64>, Invalid> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(Invalid::new(field, "must be a whole number from 0")),
            },
        }
    }

    /// One of a few names.
    ///
    /// # Errors
    /// Missing, or another.
    pub fn one_of<T>(
        &mut self,
        field: &str,
        parse: fn(&str) -> Option<T>,
        names: &str,
    ) -> Result<T, Invalid> {
        self.optional_one_of(field, parse, names)?
            .ok_or_else(|| Invalid::new(field, "is required"))
    }

    /// One of a few names, or nothing.
    ///
    /// # Errors
    /// Another.
    pub fn optional_one_of<T>(
        &mut self,
        field: &str,
        parse: fn(&str) -> Option<T>,
        names: &str,
    ) -> Result<Option<T>, Invalid> {
        let Some(name) = self.take_text(field)? else {
            return Ok(None);
        };
        parse(&name)
            .map(Some)
            .ok_or_else(|| Invalid::new(field, format!("must be one of {names}")))
    }

    /// A list of short texts; missing counts as empty.
    ///
    /// # Errors
    /// Not a list, too many, or one of them wrong.
    pub fn tags(&mut self, field: &str) -> Result<Vec<String>, Invalid> {
        let items = match self.0.remove(field) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(Invalid::new(field, "must be a list of texts")),
        };
        if items.len() > limits::TAGS {
            return Err(Invalid::new(
                field,
                format!("may hold {} at most", limits::TAGS),
            ));
        }
        let mut tags = Vec::with_capacity(items.len());
        for item in items {
            let Value::String(tag) = item else {
                return Err(Invalid::new(field, "must be a list of texts"));
            };
            let tag = tag.trim();
            if shows_nothing(tag) {
                return Err(Invalid::new(field, "must not hold an empty text"));
            }
            within(field, tag, limits::TAG)?;
            if !tags.iter().any(|known| known == tag) {
                tags.push(tag.to_owned());
            }
        }
        Ok(tags)
    }

    fn take_text(&mut self, field: &str) -> Result<Option<String>, Invalid> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Invalid::new(field, "must be a text")),
        }
    }
}

fn within(field: &str, text: &str, max: usize) -> Result<(), Invalid> {
    // A text never has more characters than bytes: counting is for the few that come near the limit.
    if text.len() > max && text.chars().count() > max {
        return Err(Invalid::new(
            field,
            format!("may have {max} characters at most"),
        ));
    }
    if text.contains('\0') {
        return Err(Invalid::new(field, "must not contain a NUL character"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
