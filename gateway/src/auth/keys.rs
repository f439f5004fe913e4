//! Public keys: from a file in PEM, or from a provider's set (JWK).

use std::path::Path;

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use ticket_shared::config::BadSetting;

/// A point on P-256, uncompressed.
const P256_POINT: usize = 65;

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
    for part in text.split_inclusive("-----END PUBLIC KEY-----") {
        let Some(start) = part.find("-----BEGIN ") else {
            continue;
        };
        let key = part
            .get(start..)
            .and_then(|pem| from_pem(pem.as_bytes()))
            .ok_or_else(|| {
                bad(
                    "holds something that is not a public key in PEM (RSA, P-256 or Ed25519)"
                        .into(),
                )
            })?;
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(bad("holds no public key in PEM".into()));
    }
    Ok(keys)
}

fn from_pem(pem: &[u8]) -> Option<Key> {
    let of = |algorithm, key| {
        Some(Key {
            id: None,
            algorithm,
            decoding: key,
        })
    };
    if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
        return of(Algorithm::RS256, key);
    }
    if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        let point = key.try_get_as_bytes().ok()?.len();
        return (point == P256_POINT)
            .then_some(key)
            .and_then(|key| of(Algorithm::ES256, key));
    }
    of(Algorithm::EdDSA, DecodingKey::from_ed_pem(pem).ok()?)
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

/// The usable keys of a provider's set. Keys for anything else are passed over.
///
/// # Errors
/// The text is no set at all.
pub(super) fn from_set(text: &[u8], allowed: &[Algorithm]) -> Result<Vec<Key>, serde_json::Error> {
    let set: Set = serde_json::from_slice(text)?;
    let keys = set.keys.into_iter();
    let mut keys: Vec<Key> = keys.filter_map(|key| from_jwk(key, allowed)).collect();
    if keys.len() > 1 {
        // Without an id nobody can say which of several keys is meant.
        keys.retain(|key| key.id.is_some());
    }
    Ok(keys)
}

fn from_jwk(key: serde_json::Value, allowed: &[Algorithm]) -> Option<Key> {
    let key: Jwk = serde_json::from_value(key).ok()?;
    let algorithm = match &key.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(ed) if ed.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        // A shared secret has no place in a public set.
        _ => return None,
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
    fits.then(|| DecodingKey::from_jwk(&key).ok())
        .flatten()
        .map(|decoding| Key {
            id: key.common.key_id,
            algorithm,
            decoding,
        })
}
