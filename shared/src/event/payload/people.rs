//! Fields that say who somebody is, and what they say.

use super::{Fields, Invalid};
use crate::{event::json::number_text, text::is_control};
use serde_json::Value;

impl Fields {
    /// A text as [`Fields::text`], or a number, which is taken as its text: the former server's schemas did so.
    ///
    /// # Errors
    /// As there.
    pub fn cast_text(&mut self, field: &str, max: usize) -> Result<String, Invalid> {
        self.cast(field);
        self.text(field, max)
    }

    /// A name or an id of a person: as [`Fields::cast_text`], and without characters that would let it pass for another.
    ///
    /// # Errors
    /// As there; a control or bidirectional character.
    pub fn label(&mut self, field: &str, max: usize) -> Result<String, Invalid> {
        self.optional_label(field, max)?
            .ok_or_else(|| Invalid::new(field, "is required"))
    }

    /// The same, or nothing where the field is missing or null.
    ///
    /// # Errors
    /// As [`Fields::label`], less missing.
    pub fn optional_label(&mut self, field: &str, max: usize) -> Result<Option<String>, Invalid> {
        self.cast(field);
        let label = self.optional_text(field, max)?;
        if label
            .as_ref()
            .is_some_and(|label| label.contains(is_control))
        {
            let problem = "must not contain control or bidirectional characters";
            return Err(Invalid::new(field, problem));
        }
        Ok(label)
    }

    /// Turns a number into its text.
    fn cast(&mut self, field: &str) {
        if let Some(value) = self.0.get_mut(field)
            && let Some(text) = number_text(value)
        {
            *value = Value::String(text);
        }
    }
}
