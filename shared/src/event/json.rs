//! JSON of clients. JavaScript's texts may hold half of a surrogate pair (half an emoji, cut at a limit), which it
//! writes as an escape that is no character; each becomes U+FFFD, as where such a text is encoded as UTF-8. Where a text
//! is due its clients may send a number.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads JSON.
///
/// # Errors
/// It is none.
pub fn from_client<T: DeserializeOwned>(text: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(text).or_else(|error| match mended(text) {
        Some(text) => serde_json::from_slice(&text),
        None => Err(error),
    })
}

/// The text with its unpaired surrogates replaced; nothing if it has none.
fn mended(text: &[u8]) -> Option<Vec<u8>> {
    const LENGTH: usize = "\\u0000".len();
    let mut mended: Option<Vec<u8>> = None;
    let mut at = 0;
    while at < text.len() {
        if text[at] != b'\\' {
            at += 1;
            continue;
        }
        match unit(text, at) {
            Some(0xd800..=0xdbff) if matches!(unit(text, at + LENGTH), Some(0xdc00..=0xdfff)) => {
                at += 2 * LENGTH;
            }
            Some(0xd800..=0xdfff) => {
                let mended = mended.get_or_insert_with(|| text.to_vec());
                mended[at + 2..at + LENGTH].copy_from_slice(b"fffd");
                at += LENGTH;
            }
            // Another escape: the character after the backslash begins none.
            _ => at += 2,
        }
    }
    mended
}

/// The UTF-16 code unit of the escape that begins here, if one does.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    // A sign would be read, too.
    let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    hexadecimal.then(|| u16::from_str_radix(digits, 16).ok())?
}

/// Numbers up to this are written by JavaScript without an exponent, and counted exactly by a double.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// The text of a number, as JavaScript writes it.
pub fn number_text(value: &Value) -> Option<String> {
    let number = value.as_number()?;
    Some(match number.as_f64() {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole, and within the range that doubles count exactly"
        )]
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= WHOLE => {
            (float as i64).to_string()
        }
        _ => number.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_pair_is_replaced_and_a_whole_one_is_not() {
        for (json, text) in [
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""a\uD83Db""#, "a\u{fffd}b"),
            (r#""\ude00""#, "\u{fffd}"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83d\ude00\ud83d""#, "😀\u{fffd}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\ud83d\n""#, "\u{fffd}\n"),
            (r#""\\ud83d \ud83d""#, "\\ud83d \u{fffd}"),
            (r#""\\\ud83d""#, "\\\u{fffd}"),
            (r#""\u0627\ud83d""#, "ا\u{fffd}"),
        ] {
            let read: String = from_client(json.as_bytes()).unwrap();
            assert_eq!(read, text, "{json}");
        }
        for bad in [
            r#""\ud83""#,
            r#""\u+d83""#,
            r#""\ud83d"#,
            "\"\\",
            r#""\ud83x""#,
        ] {
            assert!(from_client::<String>(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
