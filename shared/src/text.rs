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

/// Returns whether nothing of `text` is seen: white space, controls, and characters without a glyph (zero-width ones,
/// fillers, byte-order marks, variation selectors).
pub fn shows_nothing(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_whitespace() || is_control(c) || is_invisible(c))
}

/// Unicode's `Default_Ignorable_Code_Point`, and the blank of Braille.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
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

    #[test]
    fn what_is_not_seen_is_nothing() {
        for nothing in [
            "",
            " \n",
            "\u{200b}",
            "\u{feff}",
            "\u{feff} \u{200d}",
            "\u{3164}",
            "\u{2800}",
            "\u{ad}",
            "\u{e0041}",
            "\u{200f}\u{202e}",
            "\u{1}",
            "\u{fe0f}",
            "\u{115f}",
        ] {
            assert!(shows_nothing(nothing), "{nothing:?}");
        }
        for seen in [".", "\u{200f}م", "👍\u{fe0f}", "\u{fffd}", "\u{301}", "ـ"] {
            assert!(!shows_nothing(seen), "{seen:?}");
        }
    }
}
