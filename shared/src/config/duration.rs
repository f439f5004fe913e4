//! Durations in settings: a whole number with its unit, such as `500ms`, `30s`, `15m`, `24h` or `7d`.

use std::time::Duration;

/// Text that is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDuration {
    /// No whole number, or no known unit.
    #[error("must be a whole number with a unit: 500ms, 30s, 15m, 24h or 7d; 0 is off")]
    Form,
    /// More than [`LONGEST`].
    #[error("must be at most 36500d")]
    TooLong,
}

/// The longest duration of a setting, 100 years: sums with it overflow nowhere.
pub const LONGEST: Duration = Duration::from_hours(24 * 36_500);

/// Reads a duration; a `clap` value parser. `0` needs no unit.
///
/// # Errors
/// [`BadDuration`].
pub fn duration(text: &str) -> Result<Duration, BadDuration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(BadDuration::Form);
    }
    let ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number.bytes().all(|digit| digit == b'0') => 0,
        _ => return Err(BadDuration::Form),
    };
    // Digits alone: what does not parse is too large.
    let number: u64 = number.parse().map_err(|_| BadDuration::TooLong)?;
    let duration = number.checked_mul(ms).map(Duration::from_millis);
    duration
        .filter(|duration| *duration <= LONGEST)
        .ok_or(BadDuration::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("15m", 900_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
            ("0", 0),
            ("0s", 0),
            ("36500d", 3_153_600_000_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "", "s", "30", "-1s", "+1s", "1.5h", "30 s", " 30s", "1h30m", "5w", "30S", "٣٠s",
        ] {
            assert_eq!(duration(text), Err(BadDuration::Form), "{text:?}");
        }
        for text in ["36501d", "18446744073709551615d", "99999999999999999999ms"] {
            assert_eq!(duration(text), Err(BadDuration::TooLong), "{text}");
        }
    }
}
