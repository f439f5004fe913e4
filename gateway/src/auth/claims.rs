//! Claims of a token whose signature verifies, and the checks on them that the JWT library does not make.

use std::{fmt, time::Duration};

use clap::ValueEnum;
use serde::{Deserialize, Deserializer, Serialize};
use ticket_shared::{
    domain::limits,
    id::Id,
    text::{is_control, is_exact_id},
};

use super::TokenFault;

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

impl Role {
    /// The name in tokens and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Agent => "agent",
            Self::Admin => "admin",
        }
    }
}

/// Claims of a verified token. Printed without the name and the token's id.
#[derive(Clone, PartialEq, Eq)]
pub struct Claims {
    /// The person: an exact id of 1 to [`limits::ID`] characters, compared as it is.
    pub sub: String,
    /// The person's name: trimmed, 1 to [`limits::NAME`] characters; `sub` if the token has none.
    pub name: String,
    /// What the person may do.
    pub role: Role,
    /// The only tickets that it opens, if the token limits them.
    pub tickets: Option<Vec<Id>>,
    /// End of validity, in seconds since 1970, UTC.
    pub expires_at: i64,
    /// Time of signing, in seconds since 1970, UTC.
    pub issued_at: Option<i64>,
    /// The token's id (`jti`), by which it can be revoked.
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

/// Bounds on the times of a token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Seconds by which clocks may differ.
    pub(super) leeway: i64,
    /// Longest validity; zero is none.
    pub(super) max_age: Duration,
}

/// Claims as they stand in the token. Types are strict, unknown claims are ignored.
#[derive(Deserialize)]
pub(super) struct Payload {
    sub: Option<String>,
    name: Option<String>,
    role: Option<String>,
    // `null` is no list: taken for an absent claim it would open every ticket.
    #[serde(default, deserialize_with = "list")]
    tickets: Option<Vec<Id>>,
    exp: serde_json::Number,
    iat: Option<serde_json::Number>,
    jti: Option<String>,
    #[serde(rename = "iss")]
    _iss: Option<String>,
}

fn list<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Vec<Id>>, D::Error> {
    Vec::deserialize(value).map(Some)
}

impl Payload {
    /// Checks the claims at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// The first claim that is wrong.
    pub(super) fn claims(self, now: i64, bounds: Bounds) -> Result<Claims, TokenFault> {
        let sub = self.sub.ok_or(TokenFault::Subject)?;
        if !is_exact_id(&sub, limits::ID) {
            return Err(TokenFault::Subject);
        }
        let name = match &self.name {
            Some(name) => shown(name).ok_or(TokenFault::Name)?,
            None => sub.clone(),
        };
        let role = match self.role.as_deref() {
            Some("user") => Role::User,
            Some("agent") => Role::Agent,
            Some("admin") => Role::Admin,
            _ => return Err(TokenFault::Role),
        };
        let token_id = match self.jti {
            Some(id) if !is_exact_id(&id, limits::TOKEN_ID) => return Err(TokenFault::TokenId),
            id => id,
        };
        let expires_at = seconds(&self.exp).ok_or(TokenFault::Expiry)?;
        let issued_at = match self.iat {
            Some(iat) => Some(seconds(&iat).ok_or(TokenFault::IssuedAt)?),
            None => None,
        };
        if issued_at.is_some_and(|at| at > now.saturating_add(bounds.leeway)) {
            // Revoking a person ends the tokens that were signed until then; this one would outlive it.
            return Err(TokenFault::IssuedAt);
        }
        let max_age = i64::try_from(bounds.max_age.as_secs()).unwrap_or(i64::MAX);
        // Without a time of signing only what is left can be measured.
        let from = issued_at.unwrap_or(now);
        if !bounds.max_age.is_zero() && expires_at.saturating_sub(from) > max_age {
            return Err(TokenFault::MaxAge);
        }
        Ok(Claims {
            sub,
            name,
            role,
            tickets: self.tickets,
            expires_at,
            issued_at,
            token_id,
        })
    }
}

/// A name, trimmed, if it may be shown.
fn shown(raw: &str) -> Option<String> {
    let name = raw.trim();
    let fits =
        !name.is_empty() && name.chars().count() <= limits::NAME && !name.contains(is_control);
    fits.then(|| name.to_owned())
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
