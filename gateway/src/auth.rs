//! Who a client is: signed tokens (JWT), the keys that verify them, and tokens that were revoked.
//!
//! A token is believed only where its algorithm is allowed, a key for exactly that algorithm verifies it, and
//! its times, audience and issuer fit. Nothing that a token holds is in an error or a log line.

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

use clap::ValueEnum;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    errors::{Error, ErrorKind},
};
use serde::{Deserialize, Serialize};
use ticket_shared::{config::BadSetting, domain::limits, id::Id, lifecycle::Lifecycle};

pub use revoked::{Revocations, Revoked};
pub use settings::{AuthMode, AuthSettings, SignedWith};
pub use token::{TokenArgs, sign};

use jwks::Jwks;
use keys::Key;

/// Longer tokens are refused unread, in bytes.
const LONGEST: usize = 8 * 1024;

/// What a person may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A customer.
    User,
    /// Answers tickets.
    Agent,
    /// May do everything.
    Admin,
}

/// What a verified token says. Printed without the name and the token's id.
#[derive(Clone, PartialEq, Eq)]
pub struct Claims {
    /// Whose it is: trimmed, 1 to [`limits::ID`] characters.
    pub sub: String,
    /// What they are called: trimmed, 1 to [`limits::NAME`] characters; `sub` where the token has none.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The only tickets that they may see, where the token says so.
    pub tickets: Option<Vec<Id>>,
    /// Until when it holds, in seconds since 1970, UTC.
    pub expires_at: i64,
    /// When it was signed, in seconds since 1970, UTC.
    pub issued_at: Option<i64>,
    /// Its id (`jti`), by which it can be revoked.
    pub token_id: Option<String>,
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims")
            .field("sub", &self.sub)
            .field("role", &self.role)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It does not hold, and trying again does not help. Says why, without anything that it contains.
    #[error("{0}")]
    Invalid(&'static str),
    /// The keys were never obtained, or are too old, and the provider can't be reached.
    #[error("no keys to verify tokens with: {0}")]
    Unavailable(String),
}

/// What is read from a token whose signature fits. Types are strict, and an unknown claim is passed over.
#[derive(Deserialize)]
struct Said {
    sub: Option<String>,
    name: Option<String>,
    role: Option<String>,
    tickets: Option<Vec<Id>>,
    exp: serde_json::Number,
    iat: Option<serde_json::Number>,
    jti: Option<String>,
    #[serde(rename = "iss")]
    _iss: Option<String>,
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
    leeway: u64,
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
            leeway: settings.jwt_leeway_seconds,
        })))
    }

    /// What `token` says, where it is to be believed. Waits at most for one request to the provider, and only
    /// where a key is not known.
    ///
    /// # Errors
    /// [`Rejected`].
    pub async fn verify(&self, token: &str) -> Result<Claims, Rejected> {
        if token.len() > LONGEST {
            return Err(Rejected::Invalid("the token is too long"));
        }
        let header =
            decode_header(token).map_err(|_| Rejected::Invalid("the token is malformed"))?;
        if header.crit.is_some() {
            return Err(Rejected::Invalid("the token asks for an unknown extension"));
        }
        if !self.0.allowed.contains(&header.alg) {
            return Err(Rejected::Invalid("the token's algorithm is not allowed"));
        }
        let mut last = None;
        for key in &self.0.fixed {
            if key.algorithm != header.alg {
                continue;
            }
            match self.check(token, key) {
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => last = Some(error),
                Err(error) => return Err(reason(&error)),
                Ok(said) => return said.claims(),
            }
        }
        match &self.0.jwks {
            Some(jwks) if header.alg != Algorithm::HS256 => {
                let key = jwks.key(header.kid.as_deref(), header.alg).await?;
                self.check(token, &key)
                    .map_err(|error| reason(&error))?
                    .claims()
            }
            _ => Err(
                last.map_or(Rejected::Invalid("no key fits the token"), |error| {
                    reason(&error)
                }),
            ),
        }
    }

    fn check(&self, token: &str, key: &Key) -> Result<Said, Error> {
        let mut rules = Validation::new(key.algorithm);
        let mut required = vec!["exp"];
        rules.leeway = self.0.leeway;
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
        decode::<Said>(token, &key.decoding, &rules).map(|data| data.claims)
    }
}

impl Said {
    fn claims(self) -> Result<Claims, Rejected> {
        let sub = self.sub.ok_or(Rejected::Invalid("sub is missing"))?;
        let sub =
            text(&sub, limits::ID).ok_or(Rejected::Invalid("sub must have 1 to 128 characters"))?;
        let name = match self.name {
            Some(name) => text(&name, limits::NAME)
                .ok_or(Rejected::Invalid("name must have 1 to 128 characters"))?,
            None => sub.clone(),
        };
        let role = match self.role.as_deref() {
            Some("user") => Role::User,
            Some("agent") => Role::Agent,
            Some("admin") => Role::Admin,
            _ => return Err(Rejected::Invalid("role must be user, agent or admin")),
        };
        let issued_at = match self.iat {
            Some(iat) => Some(seconds(&iat).ok_or(Rejected::Invalid("iat is no time"))?),
            None => None,
        };
        let token_id = match self.jti {
            Some(id) => Some(text(&id, limits::TOKEN_ID).ok_or(Rejected::Invalid("jti is no id"))?),
            None => None,
        };
        Ok(Claims {
            sub,
            name,
            role,
            tickets: self.tickets,
            expires_at: seconds(&self.exp).ok_or(Rejected::Invalid("exp is no time"))?,
            issued_at,
            token_id,
        })
    }
}

/// `raw` trimmed, where it has 1 to `most` characters and no NUL.
fn text(raw: &str, most: usize) -> Option<String> {
    let text = raw.trim();
    let fits = !text.is_empty() && text.chars().count() <= most && !text.contains('\0');
    fits.then(|| text.to_owned())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "part of a second is cut off on purpose, and the range is checked"
)]
fn seconds(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let seconds = number.as_f64()?;
        (0.0..1e15).contains(&seconds).then_some(seconds as i64)
    })
}

fn reason(error: &Error) -> Rejected {
    Rejected::Invalid(match error.kind() {
        ErrorKind::InvalidSignature => "the signature does not fit",
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token does not hold yet",
        ErrorKind::InvalidAudience => "the token is for somebody else",
        ErrorKind::InvalidIssuer => "the token is from somebody else",
        ErrorKind::MissingRequiredClaim(_) => "exp, aud or iss is missing",
        _ => "the token is malformed",
    })
}
