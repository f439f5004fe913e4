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

/// The magnitudes that JavaScript writes without an exponent.
const PLAIN: std::ops::Range<f64> = 1e-6..1e21;

/// The text of a number, as JavaScript writes it. Whole numbers that a double can't count keep all of their digits.
pub fn number_text(value: &Value) -> Option<String> {
    let number = value.as_number()?;
    Some(match number.as_f64().filter(|_| number.is_f64()) {
        None => number.to_string(),
        // Without the sign that a zero may have.
        Some(0.0) => "0".into(),
        Some(float) if PLAIN.contains(&float.abs()) => float.to_string(),
        Some(float) => {
            let text = format!("{float:e}");
            if text.contains("e-") {
                text
            } else {
                text.replace('e', "e+")
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_javascript_writes_them() {
        for (json, text) in [
            ("42", "42"),
            ("-7", "-7"),
            ("7.5", "7.5"),
            ("7.0", "7"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("0.1", "0.1"),
            ("1e3", "1000"),
            ("0.000001", "0.000001"),
            ("1e-7", "1e-7"),
            ("-2.5e-7", "-2.5e-7"),
            ("9007199254740993", "9007199254740993"),
            ("18446744073709551615", "18446744073709551615"),
            ("1e20", "100000000000000000000"),
            ("123456789012345680000", "123456789012345680000"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("5e-324", "5e-324"),
            ("1e+21", "1e+21"),
            ("-1.5e300", "-1.5e+300"),
        ] {
            let value: Value = from_client(json.as_bytes()).unwrap();
            assert_eq!(number_text(&value).as_deref(), Some(text), "{json}");
        }
        assert_eq!(number_text(&Value::from("1")), None);
    }

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
