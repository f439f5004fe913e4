//! The read concern that a URI asks for, in words.

use mongodb::{bson, options::ReadConcern};

/// Returns the level of a read concern, as a URI has it.
pub fn level(concern: &ReadConcern) -> String {
    let document = bson::serialize_to_document(concern);
    let level = document.ok().and_then(|document| {
        let level = document.get_str("level").ok()?;
        Some(level.to_owned())
    });
    level.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_named_as_in_uris() {
        assert_eq!(level(&ReadConcern::majority()), "majority");
        assert_eq!(level(&ReadConcern::custom("odd")), "odd");
    }
}
