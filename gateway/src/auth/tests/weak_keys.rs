//! Keys that could be forged, or that verify nothing: refused at the start, ignored from a provider.

use super::*;
use crate::auth::keys::{Weakness, from_set};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/auth/tests/");

#[test]
fn keys_that_verify_nothing_stop_the_start() {
    for (file, word) in [
        ("secp256k1.pem", "P-256"),
        ("p384.pem", "P-256"),
        ("rsa1024.pem", "RSA"),
        ("rsa2047.pem", "RSA"),
    ] {
        let error = settings(&["--jwt-key-file", &format!("{DIRECTORY}{file}")]).unwrap_err();
        assert_eq!(error.setting, "JWT_KEY_FILE", "{file}");
        assert!(error.to_string().contains(word), "{file}: {error}");
    }
}

#[test]
fn a_weak_key_behind_a_good_one_is_found_too() {
    let read = |file: &str| std::fs::read_to_string(format!("{DIRECTORY}{file}")).unwrap();
    let path = std::env::temp_dir().join(format!("keys-{}", std::process::id()));
    std::fs::write(&path, read("public.pem") + &read("rsa1024.pem")).unwrap();
    let answer = settings(&["--jwt-key-file", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(answer.unwrap_err().setting, "JWT_KEY_FILE");
}

#[test]
fn weak_keys_of_a_provider_are_ignored_and_named() {
    let allowed = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
    // Numbers of 1024 and of 2048 bits: first and last bit, and nothing between.
    let n = |digits: usize, end: &str| format!("gA{}{end}", "A".repeat(digits - 2 - end.len()));
    let (short, long) = (n(171, "AAE"), n(342, "AQ"));
    let set = json!({ "keys": [
        { "kty": "RSA", "kid": "short", "use": "sig", "n": short, "e": "AQAB" },
        { "kty": "RSA", "kid": "even", "use": "sig", "n": long, "e": "AQAA" },
        { "kty": "EC", "kid": "koblitz", "crv": "secp256k1", "alg": "ES256K",
          "x": "eb5mfvncu6xVoGKVzocLBwKb_NstzijZWfKBWxb4F5g", "y": "SDradyajxGVdpPv8DhEIqP0XtEimhVQZnEfQj_sQ1Lg" },
        { "kty": "EC", "kid": "lies", "crv": "P-256",
          "x": "eb5mfvncu6xVoGKVzocLBwKb_NstzijZWfKBWxb4F5g", "y": "SDradyajxGVdpPv8DhEIqP0XtEimhVQZnEfQj_sQ1Lg" },
        { "kty": "OKP", "kid": "cut", "crv": "Ed25519", "x": "AAAA" },
        { "kty": "RSA", "kid": "for encryption", "use": "enc", "n": short, "e": "AQAB" },
        { "kty": "oct", "kid": "shared", "k": "c2VjcmV0" },
    ] });
    let (keys, ignored) = from_set(set.to_string().as_bytes(), &allowed).unwrap();
    assert!(keys.is_empty());
    let named: Vec<_> = ignored
        .iter()
        .map(|key| (key.id.as_str(), key.weakness))
        .collect();
    assert_eq!(
        named,
        [
            ("short", Weakness::Rsa),
            ("even", Weakness::Rsa),
            ("koblitz", Weakness::Unsupported),
            ("lies", Weakness::Curve),
            ("cut", Weakness::Unsupported),
        ]
    );
}
