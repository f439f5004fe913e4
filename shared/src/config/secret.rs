//! Settings that are secret.

use std::fmt;

use super::BadSetting;

/// A text that is never printed: what prints it shows a URL without its password, and anything else not at all.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return f.write_str("[hidden]");
        };
        // The last one: a password that was not encoded may have one in it, and slashes and question marks.
        let (user, place) = match rest.rsplit_once('@') {
            Some((_, place)) => ("[hidden]@", place),
            None => ("", rest),
        };
        let place = place.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{user}{place}")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads a secret from a file, without the line feed at its end.
///
/// # Errors
/// Names `setting` where the file can't be read or is empty.
pub fn read_secret(setting: &'static str, path: &std::path::Path) -> Result<Secret, BadSetting> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        BadSetting::new(setting, format!("can't read the file: {}", error.kind()))
    })?;
    match text.trim() {
        "" => Err(BadSetting::new(setting, "the file is empty")),
        secret => Ok(Secret::new(secret)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_its_place_but_not_itself() {
        let shown = Secret::new("mongodb://root:p@ss@db:27017/tickets?authSource=admin&tlsKey=x")
            .to_string();
        assert_eq!(shown, "mongodb://[hidden]@db:27017/tickets");
        assert_eq!(
            Secret::new("redis://localhost:6379").to_string(),
            "redis://localhost:6379"
        );
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[hidden]");
        let shown = Secret::new("redis://:hun/ter?2@h:1/0").to_string();
        assert_eq!(shown, "redis://[hidden]@h:1/0");
    }
}
