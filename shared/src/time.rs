//! Points in time: milliseconds since 1970 inside, RFC 3339 UTC with milliseconds on the wire.
//!
//! The times of entries come from Redis, so that a process whose clock is wrong changes nothing.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub i64);

impl Time {
    /// Now, by this machine's clock: for tokens only, whose times are those of whoever signed them.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_millisecond())
    }

    /// A time in seconds since 1970.
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What RFC 3339 can't show is shown as the nearest time that it can: an error here would be a panic.
        let shown = self.0.clamp(-62_135_596_800_000, 253_402_207_200_000);
        let time = jiff::Timestamp::from_millisecond(shown).map_err(|_| fmt::Error)?;
        write!(f, "{time:.3}")
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(de::Error::custom)?;
        Ok(Self(time.as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn always_three_digits_and_utc() {
        assert_eq!(Time(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            Time(1_763_861_116_007).to_string(),
            "2025-11-23T01:25:16.007Z"
        );
        assert!(Time(i64::MAX).to_string().starts_with("9999-12-3"));
        assert_eq!(Time(i64::MIN).to_string(), "0001-01-01T00:00:00.000Z");
        let back: Time = serde_json::from_str("\"2025-11-23T04:25:16.007+03:00\"").unwrap();
        assert_eq!(back, Time(1_763_861_116_007));
    }
}
