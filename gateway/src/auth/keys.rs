//! Public keys: from a file in PEM, or from a provider's set (JWK).

use std::path::Path;

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use ticket_shared::config::BadSetting;

mod strength;

/// The part of a key's id that is logged, in characters.
const LONGEST_ID: usize = 64;

/// A key and the one algorithm that it verifies.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// The public keys in a PEM file.
pub(super) fn from_file(path: &Path) -> Result<Vec<Key>, BadSetting> {
    let bad = |problem: String| BadSetting::new("JWT_KEY_FILE", problem);
    let text = std::fs::read_to_string(path)
        .map_err(|error| bad(format!("can't read the file: {}", error.kind())))?;
    if text.contains("PRIVATE KEY-----") {
        return Err(bad("holds a private key; give the public one".into()));
    }
    let mut keys = Vec::new();
    for (start, _) in text.match_indices("-----BEGIN ") {
        let pem = text.get(start..).unwrap_or_default();
        let key = from_pem(pem.as_bytes()).map_err(|weakness| bad(weakness.to_string()))?;
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(bad("holds no public key in PEM".into()));
    }
    Ok(keys)
}

/// A key that verifies nothing here, or that could be forged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Weakness {
    /// Not a key that is understood.
    #[error(
        "holds a key that is not supported; give RSA (2048 to 8192 bits), P-256 or Ed25519 keys"
    )]
    Unsupported,
    /// Not on the curve whose signatures are verified.
    #[error("holds an elliptic key that is not on P-256 (secp256k1 is another curve)")]
    Curve,
    /// A modulus or exponent out of bounds.
    #[error(
        "holds an RSA key that is not of 2048 to 8192 bits with an odd exponent from 3 to 2^33-1"
    )]
    Rsa,
}

/// The first public key in this text.
fn from_pem(pem: &[u8]) -> Result<Key, Weakness> {
    let (algorithm, decoding) = if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
        let der = key.try_get_as_bytes().map_err(|_| Weakness::Rsa)?;
        let (n, e) = strength::components(der).ok_or(Weakness::Rsa)?;
        let key = DecodingKey::from_rsa_raw_components(n, e);
        (Algorithm::RS256, key)
    } else if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        (Algorithm::ES256, key)
    } else {
        let key = DecodingKey::from_ed_pem(pem).map_err(|_| Weakness::Unsupported)?;
        (Algorithm::EdDSA, key)
    };
    strength::check(&decoding)?;
    Ok(Key {
        id: None,
        algorithm,
        decoding,
    })
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

/// A key of a provider's set that can't be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ignored {
    pub(super) id: String,
    pub(super) weakness: Weakness,
}

/// The usable keys of a provider's set, and those that are weak or not supported. Keys for other purposes are
/// neither.
///
/// # Errors
/// The text is no set at all.
pub(super) fn from_set(
    text: &[u8],
    allowed: &[Algorithm],
) -> Result<(Vec<Key>, Vec<Ignored>), serde_json::Error> {
    let set: Set = serde_json::from_slice(text)?;
    let (mut keys, mut ignored) = (Vec::new(), Vec::new());
    for key in set.keys {
        let id = key.get("kid").and_then(serde_json::Value::as_str);
        let id: String = id.unwrap_or_default().chars().take(LONGEST_ID).collect();
        match from_jwk(key, allowed) {
            Ok(key) => keys.extend(key),
            Err(weakness) => ignored.push(Ignored { id, weakness }),
        }
    }
    if keys.len() > 1 {
        // Without an id it is not known which of several keys is meant.
        keys.retain(|key: &Key| key.id.is_some());
    }
    Ok((keys, ignored))
}

/// The key, unless it is for another purpose.
fn from_jwk(key: serde_json::Value, allowed: &[Algorithm]) -> Result<Option<Key>, Weakness> {
    let text = |name| key.get(name).and_then(serde_json::Value::as_str);
    let signs = text("use").is_none_or(|used| used == "sig");
    let public = matches!(text("kty"), Some("RSA" | "EC" | "OKP"));
    let other = if signs && public {
        Err(Weakness::Unsupported)
    } else {
        // A shared secret has no place in a public set.
        Ok(None)
    };
    let Ok(key) = serde_json::from_value::<Jwk>(key) else {
        return other;
    };
    let algorithm = match &key.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(ed) if ed.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        _ => return other,
    };
    let common = &key.common;
    let fits = common
        .key_algorithm
        .is_none_or(|named| named == KeyAlgorithm::from(algorithm))
        && common
            .public_key_use
            .as_ref()
            .is_none_or(|used| *used == PublicKeyUse::Signature)
        && common
            .key_operations
            .as_ref()
            .is_none_or(|can| can.contains(&KeyOperations::Verify))
        && allowed.contains(&algorithm);
    if !fits {
        return Ok(None);
    }
    let decoding = DecodingKey::from_jwk(&key).map_err(|_| Weakness::Unsupported)?;
    strength::check(&decoding)?;
    Ok(Some(Key {
        id: key.common.key_id,
        algorithm,
        decoding,
    }))
}
