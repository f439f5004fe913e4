//! Reasons for which a token is refused, under the names that logs and metrics give them.

use std::fmt;

use crate::error::NO_TOKEN;

/// A reason for which a token is refused. It names a claim or a check, never a value of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// There is no token.
    Missing,
    /// Longer than a token may be.
    TooLong,
    /// No JSON Web Token, or a claim of the wrong type.
    Malformed,
    /// `crit`: an extension that is not understood must be refused.
    Extension,
    /// `typ` is neither `JWT` nor `at+jwt`.
    Type,
    /// `alg` is not allowed.
    Algorithm,
    /// No key for it.
    UnknownKey,
    /// The signature does not verify.
    Signature,
    /// `exp` is in the past.
    Expired,
    /// `nbf` is in the future.
    NotYetValid,
    /// `aud` is another service.
    Audience,
    /// `iss` is another issuer.
    Issuer,
    /// `exp`, `aud` or `iss` is required and missing.
    ClaimMissing,
    /// `sub` is missing, or no exact id.
    Subject,
    /// `name` is empty, too long, or has control characters.
    Name,
    /// `role` is unknown.
    Role,
    /// `exp` is no time.
    Expiry,
    /// `iat` is no time, or in the future.
    IssuedAt,
    /// `jti` is no exact id.
    TokenId,
    /// Valid for longer than `TOKEN_MAX_AGE`.
    MaxAge,
    /// It was revoked.
    Revoked,
}

impl TokenFault {
    /// The name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => NO_TOKEN,
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Extension => "crit",
            Self::Type => "typ",
            Self::Algorithm => "alg",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "nbf",
            Self::Audience => "aud",
            Self::Issuer => "iss",
            Self::ClaimMissing => "claim_missing",
            Self::Subject => "sub",
            Self::Name => "name",
            Self::Role => "role",
            Self::Expiry => "exp",
            Self::IssuedAt => "iat",
            Self::TokenId => "jti",
            Self::MaxAge => "max_age",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
