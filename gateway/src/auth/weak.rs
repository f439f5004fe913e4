//! Secrets that are easy to guess.

use std::collections::HashSet;

use ticket_shared::config::{BadSetting, Secret};

/// As many bytes as the output of HMAC with SHA-256.
const SHORTEST: usize = 32;
/// Random text of that length, even in hexadecimal digits, practically always has more different bytes.
const VARIETY: usize = 8;
/// What examples and templates use.
const KNOWN: [&str; 7] = [
    "changeme",
    "change-me",
    "change_me",
    "your-256-bit-secret",
    "a-string-secret-at-least-256-bits-long",
    "your-secret",
    "password",
];

/// Refuses a secret that is easy to guess.
///
/// # Errors
/// Names `setting`; never says what the secret is.
pub(super) fn check(setting: &'static str, secret: &Secret) -> Result<(), BadSetting> {
    let text = secret.expose();
    let lower = text.to_lowercase();
    let problem = if text.len() < SHORTEST {
        "must have 32 bytes or more; make one with: openssl rand -base64 48"
    } else if KNOWN.iter().any(|known| lower.contains(known)) {
        "is a known example; make one with: openssl rand -base64 48"
    } else if text.bytes().collect::<HashSet<_>>().len() < VARIETY || repeats(text.as_bytes()) {
        "is easy to guess; make one with: openssl rand -base64 48"
    } else if text.contains("://") {
        // A secret with that in it would be shown as a URL.
        "looks like a URL; make one with: openssl rand -base64 48"
    } else {
        return Ok(());
    };
    Err(BadSetting::new(setting, problem))
}

/// Whether it is one piece twice or more often.
fn repeats(text: &[u8]) -> bool {
    (1..=text.len() / 2)
        .any(|piece| (piece..text.len()).all(|at| text.get(at) == text.get(at - piece)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_guessed_is_refused() {
        for weak in [
            "secret",
            "changeme",
            "your-256-bit-secret",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "secretsecretsecretsecretsecretsecretsecret",
            "CHANGEME-CHANGEME-CHANGEME-0123456789-abc",
            "a-string-secret-at-least-256-bits-long",
            "0123456789abcdef0123456789abcdef",
            "0123456789abcdefghijklmnopqrstu",
            "https://x.example.com/aBcDeFgHiJkLmN",
        ] {
            let error = check("JWT_SECRET", &Secret::new(weak)).unwrap_err();
            assert_eq!(error.setting, "JWT_SECRET", "{weak}");
            assert!(!error.to_string().contains(weak), "{weak}");
        }
        let good = "p0Y2cF7kq9ZsT4vLw1XnBd8RjHm3AeGu";
        assert_eq!(check("JWT_SECRET", &Secret::new(good)), Ok(()));
    }
}
