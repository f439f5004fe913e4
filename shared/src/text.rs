//! Characters that a person does not see, and where they may not stand.

/// Returns whether `c` is a control character, ends a line or a paragraph, or changes the direction of the text
/// around it (Unicode's `Cc`, `Zl`, `Zp` and `Bidi_Control`). In a name or an id it could pass for another one.
pub const fn is_control(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// Returns whether `text` identifies a person or a token as it stands: 1 to `max` characters, no control character,
/// no white space at either end.
pub fn is_exact_id(text: &str, max: usize) -> bool {
    !text.is_empty()
        && text.trim().len() == text.len()
        && !text.contains(is_control)
        && text.chars().count() <= max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_holds_no_character_that_hides() {
        for good in ["a", "a b", "سارة", "auth0|5f7", "a\u{200d}b"] {
            assert!(is_exact_id(good, 9), "{good:?}");
        }
        let bad = [
            "",
            " ",
            "a ",
            " a",
            "a\u{a0}",
            "\u{3000}a",
            "a\n",
            "a\tb",
            "a\0",
            "a\u{85}b",
            "\u{202e}a",
            "a\u{200f}",
            "a\u{2066}b",
            "a\u{2028}b",
            "0123456789",
        ];
        for bad in bad {
            assert!(!is_exact_id(bad, 9), "{bad:?}");
        }
    }
}
