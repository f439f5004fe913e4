//! The mapping file of `adopt`: under which names another server kept what we need, and what its words mean.
//!
//! ```toml
//! ticketId = "ticket"                  # our field = theirs, or a list: the first that is there counts
//! content = ["message", "text", "body"]
//! senderId = "author._id"              # a dot reaches into a document
//! internal = ["isInternal", "private"]
//! status.resolved = "closed"           # their word = ours
//! senderType.ADMIN = "agent"
//! [embedded.notes]                     # an array in a ticket that holds messages
//! content = "text"
//! internal = true
//! ```

use std::{collections::BTreeMap, path::Path};

use ticket_mongo::words;
use ticket_shared::{config::BadSetting, domain::UserType};
use toml::{Table, Value};

/// The fields of ours that a mapping may name.
const FIELDS: [&str; 17] = [
    "ticketId",
    "senderId",
    "senderType",
    "senderName",
    "content",
    "internal",
    "createdAt",
    "updatedAt",
    "closedAt",
    "subject",
    "description",
    "status",
    "priority",
    "tags",
    "userId",
    "userName",
    "assignedAgent",
];
/// Those of them whose words may be mapped.
const WORDS: [&str; 3] = ["status", "priority", "senderType"];
/// In a table of words, the field that they stand in.
const FROM: &str = "from";

/// What a mapping file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mapping {
    fields: BTreeMap<String, Vec<String>>,
    words: BTreeMap<(String, String), String>,
    /// Arrays in tickets that hold messages.
    pub(crate) embedded: BTreeMap<String, Embedded>,
}

/// An array in a ticket that holds messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Embedded {
    /// What is said of its elements beside what is said of all messages.
    pub(crate) mapping: Mapping,
    /// If all of them are for agents only.
    pub(crate) internal: bool,
}

impl Mapping {
    /// Reads a file.
    ///
    /// # Errors
    /// Names `--map`, and what in the file is wrong.
    pub(crate) fn read(path: &Path) -> Result<Self, BadSetting> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| bad(format!("can't read the file: {}", error.kind())))?;
        Self::parse(&text)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, BadSetting> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| bad(format!("is no TOML: {}", error.message())))?;
        Self::of(&table)
    }

    fn of(table: &Table) -> Result<Self, BadSetting> {
        let mut mapping = Self::default();
        for (field, value) in table {
            if field == "embedded" {
                mapping.embed(value)?;
                continue;
            }
            if !FIELDS.contains(&field.as_str()) {
                let known = FIELDS.join(", ");
                return Err(bad(format!(
                    "has no field {field} to map to; there are {known}"
                )));
            }
            match value {
                Value::Table(words) if WORDS.contains(&field.as_str()) => {
                    for (theirs, ours) in words {
                        mapping.word(field, theirs, ours)?;
                    }
                }
                value => {
                    mapping.fields.insert(field.clone(), names(field, value)?);
                }
            }
        }
        Ok(mapping)
    }

    fn word(&mut self, field: &str, theirs: &str, ours: &Value) -> Result<(), BadSetting> {
        if theirs == FROM {
            self.fields.insert(field.to_owned(), names(field, ours)?);
            return Ok(());
        }
        let ours = ours.as_str().unwrap_or_default();
        let known = match field {
            "status" => words::status(ours).is_some(),
            "priority" => words::priority(ours).is_some(),
            _ => words::side(ours).is_some(),
        };
        if !known {
            return Err(bad(format!(
                "{field}.{theirs}: {ours} is none of our words"
            )));
        }
        let key = (field.to_owned(), theirs.trim().to_lowercase());
        self.words.insert(key, ours.to_owned());
        Ok(())
    }

    fn embed(&mut self, value: &Value) -> Result<(), BadSetting> {
        let Value::Table(arrays) = value else {
            return Err(bad("embedded: must be a table for each array".to_owned()));
        };
        for (name, value) in arrays {
            let Value::Table(table) = value else {
                return Err(bad(format!("embedded.{name}: must be a table")));
            };
            let mut table = table.clone();
            let internal = matches!(table.get("internal"), Some(Value::Boolean(true)));
            if matches!(table.get("internal"), Some(Value::Boolean(_))) {
                table.remove("internal");
            }
            let mapping = Self::of(&table)?;
            let embedded = Embedded { mapping, internal };
            self.embedded.insert(name.clone(), embedded);
        }
        Ok(())
    }

    /// The names under which a field may stand, the mapped ones first.
    pub(crate) fn names<'a>(&'a self, field: &'a str) -> impl Iterator<Item = &'a str> {
        let mapped = self.fields.get(field).map_or(&[][..], Vec::as_slice);
        mapped
            .iter()
            .map(String::as_str)
            .chain(std::iter::once(field))
    }

    /// If a field was named.
    pub(crate) fn maps(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// Our word for one of theirs, where the mapping or the product itself knows it.
    pub(crate) fn our_word(&self, field: &str, theirs: &str) -> Option<String> {
        let key = (field.to_owned(), theirs.trim().to_lowercase());
        let word = self.words.get(&key).map_or(theirs, String::as_str);
        Some(match field {
            "status" => words::status(word)?.as_str().to_owned(),
            "priority" => words::priority(word)?.as_str().to_owned(),
            _ => words::side(word).map(UserType::as_str)?.to_owned(),
        })
    }

    /// What holds for the elements of an array: its own mapping, then this one.
    pub(crate) fn within(&self, embedded: &Embedded) -> Self {
        let mut all = self.clone();
        all.fields.extend(embedded.mapping.fields.clone());
        all.words.extend(embedded.mapping.words.clone());
        all
    }
}

fn names(field: &str, value: &Value) -> Result<Vec<String>, BadSetting> {
    let list = match value {
        Value::String(name) => vec![name.clone()],
        Value::Array(list) => list
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    };
    if list.is_empty()
        || list
            .iter()
            .any(|name| name.is_empty() || name.starts_with('$'))
    {
        return Err(bad(format!(
            "{field}: must be the name of a field, or a list of names"
        )));
    }
    Ok(list)
}

fn bad(problem: String) -> BadSetting {
    BadSetting::new("--map", problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_words_and_arrays_are_read() {
        let mapping = Mapping::parse(
            "ticketId = \"ticket\"\ncontent = [\"message\", \"text\"]\nstatus.Resolved = \"closed\"\n\
             senderType.from = \"role\"\nsenderType.bot = \"agent\"\n[embedded.notes]\ninternal = true\n\
             content = \"note\"\n",
        )
        .unwrap();
        let names: Vec<&str> = mapping.names("content").collect();
        assert_eq!(names, ["message", "text", "content"]);
        assert_eq!(
            mapping.our_word("status", "RESOLVED ").as_deref(),
            Some("closed")
        );
        assert_eq!(mapping.our_word("status", "Open").as_deref(), Some("open"));
        assert_eq!(mapping.our_word("status", "waiting"), None);
        assert_eq!(
            mapping.our_word("senderType", "bot").as_deref(),
            Some("agent")
        );
        assert!(mapping.maps("senderType"));
        let notes = &mapping.embedded["notes"];
        assert!(notes.internal);
        let within = mapping.within(notes);
        assert_eq!(within.names("content").next(), Some("note"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("x = 1", "x"),
            ("content = 5", "content"),
            ("status.resolved = \"done\"", "status.resolved"),
            ("embedded = [\"a\"]", "embedded"),
            ("content = \"$a\"", "content"),
            ("= 5", "TOML"),
        ] {
            let error = Mapping::parse(text).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
