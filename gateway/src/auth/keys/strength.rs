//! Bounds on public keys: those within which `ring` verifies signatures, checked before a token comes.

use jsonwebtoken::{AlgorithmFamily, DecodingKey, DecodingKeyKind};
use ring::{
    agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral},
    rand::SystemRandom,
};

use super::Weakness;

/// Bits of an RSA modulus: RFC 7518, 3.3, and the most that `ring` takes.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
/// The largest exponent that `ring` takes has 33 bits.
const EXPONENT_BITS: usize = 33;
/// Bytes of an Ed25519 key.
const ED25519: usize = 32;

/// Checks that a key can verify a signature.
///
/// # Errors
/// [`Weakness`].
pub(super) fn check(key: &DecodingKey) -> Result<(), Weakness> {
    match (key.family(), key.kind()) {
        (AlgorithmFamily::Rsa, DecodingKeyKind::RsaModulusExponent { n, e }) => rsa(n, e),
        (AlgorithmFamily::Ec, DecodingKeyKind::SecretOrDer(point)) => p256(point),
        (AlgorithmFamily::Ed, DecodingKeyKind::SecretOrDer(key)) if key.len() == ED25519 => Ok(()),
        _ => Err(Weakness::Unsupported),
    }
}

fn rsa(n: &[u8], e: &[u8]) -> Result<(), Weakness> {
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    let fits =
        RSA_BITS.contains(&bits(n)) && odd(n) && odd(e) && (2..=EXPONENT_BITS).contains(&bits(e));
    fits.then_some(()).ok_or(Weakness::Rsa)
}

/// The length of a number; none for one with leading zeros, which `ring` refuses.
fn bits(number: &[u8]) -> usize {
    match number.first() {
        None | Some(0) => 0,
        Some(first) => number.len() * 8 - first.leading_zeros() as usize,
    }
}

/// Whether a point is on P-256: `ring` agrees on a key with no other. Points of other curves have the same length.
fn p256(point: &[u8]) -> Result<(), Weakness> {
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new());
    let own = own.map_err(|_| Weakness::Unsupported)?;
    let peer = UnparsedPublicKey::new(&ECDH_P256, point);
    agree_ephemeral(own, &peer, |_| ()).map_err(|_| Weakness::Curve)
}

/// Modulus and exponent of an `RSAPublicKey` in DER (RFC 8017, A.1.1), without their leading zeros.
pub(super) fn components(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    let (body, rest) = element(der, SEQUENCE)?;
    let (n, body) = element(body, INTEGER)?;
    let (e, body) = element(body, INTEGER)?;
    let whole = rest.is_empty() && body.is_empty();
    whole.then_some((positive(n), positive(e)))
}

/// The content of the first element of this kind, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (head, rest) = der.split_at_checked(2)?;
    if head[0] != tag {
        return None;
    }
    let (length, rest) = match head[1] {
        short @ 0..=0x7f => (usize::from(short), rest),
        // The number of bytes of the length: no key needs more than two.
        long @ (0x81 | 0x82) => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x0f))?;
            let length = bytes
                .iter()
                .fold(0, |all, byte| all << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn positive(integer: &[u8]) -> &[u8] {
    match integer {
        [0, rest @ ..] => rest,
        integer => integer,
    }
}
