//! Who a client is: signed tokens (JWT), the keys that verify them, and tokens that were revoked.
//!
//! A token is believed only where its algorithm is allowed, a key for exactly that algorithm verifies it, and
//! its times, audience and issuer fit. Nothing that a token holds is in an error or a log line.

mod claims;
mod fault;
mod jwks;
mod keys;
mod provider;
mod revoked;
mod settings;
mod token;
mod weak;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation, decode, decode_header,
    errors::{Error, ErrorKind},
};
use ticket_shared::{config::BadSetting, lifecycle::Lifecycle, time::Time};

pub use claims::{Claims, Role};
pub use fault::TokenFault;
pub use revoked::{Revocations, Revoked};
pub use settings::{AuthMode, AuthSettings, SignedWith};
pub use token::{TokenArgs, sign};

use claims::{Bounds, Payload};
use jwks::Jwks;
use keys::Key;

/// Longer tokens are refused unread, in bytes.
const LONGEST: usize = 8 * 1024;

/// A failure to verify a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The token is refused; a retry does not help.
    #[error("{0}")]
    Invalid(TokenFault),
    /// The keys were never obtained, or are too old, and the provider can't be reached.
    #[error("no keys to verify tokens with: {0}")]
    Unavailable(String),
}

/// Verifies tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    allowed: Vec<Algorithm>,
    fixed: Vec<Key>,
    jwks: Option<Jwks>,
    audience: Option<String>,
    issuer: Option<String>,
    bounds: Bounds,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier with these settings, after [`AuthSettings::resolve`]. Where there is a `JWKS_URL`, a task
    /// of `life` begins to fetch the keys; the start does not wait for them.
    ///
    /// # Errors
    /// The setting of a key that can't be used.
    pub fn start(settings: &AuthSettings, life: &Lifecycle) -> Result<Self, BadSetting> {
        provider::install();
        let allowed = settings.allowed();
        let secrets = [&settings.jwt_secret, &settings.jwt_secret_previous];
        let mut fixed: Vec<Key> = secrets
            .into_iter()
            .flatten()
            .map(|secret| Key {
                id: None,
                algorithm: Algorithm::HS256,
                decoding: DecodingKey::from_secret(secret.expose().as_bytes()),
            })
            .collect();
        if let Some(path) = &settings.jwt_key_file {
            fixed.extend(keys::from_file(path)?);
        }
        for (setting, value) in [
            ("JWT_AUDIENCE", &settings.jwt_audience),
            ("JWT_ISSUER", &settings.jwt_issuer),
        ] {
            if value.is_none() {
                tracing::warn!(
                    setting,
                    "not set: tokens that the same keys sign for others are believed too"
                );
            }
        }
        let jwks = settings
            .jwks()?
            .map(|url| Jwks::start(url, &allowed, settings, life));
        Ok(Self(Arc::new(Inner {
            allowed,
            fixed,
            jwks,
            audience: settings.jwt_audience.clone(),
            issuer: settings.jwt_issuer.clone(),
            bounds: settings.bounds(),
        })))
    }

    /// What `token` says, where it is to be believed. Waits at most for one request to the provider, and only
    /// where a key is not known.
    ///
    /// # Errors
    /// [`Rejected`].
    pub async fn verify(&self, token: &str) -> Result<Claims, Rejected> {
        if token.len() > LONGEST {
            return Err(Rejected::Invalid(TokenFault::TooLong));
        }
        let header = decode_header(token).map_err(|_| Rejected::Invalid(TokenFault::Malformed))?;
        self.check_header(&header).map_err(Rejected::Invalid)?;
        let mut fault = TokenFault::UnknownKey;
        for key in &self.0.fixed {
            if key.algorithm != header.alg {
                continue;
            }
            match self.check(token, key) {
                Err(TokenFault::Signature) => fault = TokenFault::Signature,
                checked => return checked.map_err(Rejected::Invalid),
            }
        }
        match &self.0.jwks {
            Some(jwks) if header.alg != Algorithm::HS256 => {
                let key = jwks.key(header.kid.as_deref(), header.alg).await?;
                self.check(token, &key).map_err(Rejected::Invalid)
            }
            _ => Err(Rejected::Invalid(fault)),
        }
    }

    fn check_header(&self, header: &Header) -> Result<(), TokenFault> {
        if header.crit.is_some() {
            return Err(TokenFault::Extension);
        }
        // A token for another purpose, signed with the same key, says so here (RFC 8725, 3.11).
        if header.typ.as_deref().is_some_and(|typ| !is_bearer(typ)) {
            return Err(TokenFault::Type);
        }
        if !self.0.allowed.contains(&header.alg) {
            return Err(TokenFault::Algorithm);
        }
        Ok(())
    }

    fn check(&self, token: &str, key: &Key) -> Result<Claims, TokenFault> {
        let mut rules = Validation::new(key.algorithm);
        let mut required = vec!["exp"];
        rules.leeway = u64::try_from(self.0.bounds.leeway).unwrap_or(0);
        rules.validate_nbf = true;
        rules.validate_aud = self.0.audience.is_some();
        if let Some(audience) = &self.0.audience {
            rules.set_audience(&[audience]);
            required.push("aud");
        }
        if let Some(issuer) = &self.0.issuer {
            rules.set_issuer(&[issuer]);
            required.push("iss");
        }
        rules.set_required_spec_claims(&required);
        let decoded = decode::<Payload>(token, &key.decoding, &rules);
        let payload = decoded.map_err(|error| fault_of(&error))?.claims;
        payload.claims(Time::now().0 / 1_000, self.0.bounds)
    }
}

/// Returns whether a token of this type authenticates its bearer. Types are media types, whose letter case does not
/// matter and whose `application/` may be left out (RFC 7515, 4.1.9).
fn is_bearer(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    let name = typ.strip_prefix("application/").unwrap_or(&typ);
    matches!(name, "jwt" | "at+jwt")
}

fn fault_of(error: &Error) -> TokenFault {
    match error.kind() {
        ErrorKind::InvalidSignature => TokenFault::Signature,
        ErrorKind::ExpiredSignature => TokenFault::Expired,
        ErrorKind::ImmatureSignature => TokenFault::NotYetValid,
        ErrorKind::InvalidAudience => TokenFault::Audience,
        ErrorKind::InvalidIssuer => TokenFault::Issuer,
        ErrorKind::MissingRequiredClaim(_) => TokenFault::ClaimMissing,
        _ => TokenFault::Malformed,
    }
}
