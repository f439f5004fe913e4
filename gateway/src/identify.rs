//! From a token to a caller, for sockets and REST alike.

use std::sync::Arc;

use axum::http::{HeaderMap, header};

use ticket_shared::time::Time;

use crate::{
    access::Caller,
    audit::Audit,
    auth::{Claims, Rejected, Revocations, TokenFault, Verifier},
    error::Error,
};

/// How callers are told apart. Cheap to clone.
#[derive(Clone)]
pub enum Identify {
    /// `AUTH_MODE=none`: not at all.
    Open,
    /// By their tokens.
    Tokens {
        /// Which tokens are good.
        verifier: Verifier,
        /// Which of them are good no longer.
        revocations: Revocations,
        /// Counts and logs refusals.
        audit: Audit,
    },
}

impl Identify {
    /// Whether callers can be told apart: a gateway that has not heard what was revoked must wait.
    pub fn ready(&self) -> bool {
        match self {
            Self::Open => true,
            Self::Tokens { revocations, .. } => revocations.informed(),
        }
    }

    /// The caller with this token.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] without a good token. [`Error::Unavailable`] where the keys to tell could not
    /// be had.
    pub async fn caller(&self, token: Option<&str>) -> Result<Caller, Error> {
        match self {
            Self::Open => Ok(Caller::Anyone),
            Self::Tokens { .. } => Ok(Caller::Known(self.claims(token).await?.into())),
        }
    }

    /// What a token says.
    ///
    /// # Errors
    /// As [`Identify::caller`]; [`Error::Forbidden`] where there are no tokens.
    pub async fn claims(&self, token: Option<&str>) -> Result<Claims, Error> {
        let Self::Tokens {
            verifier,
            revocations,
            audit,
        } = self
        else {
            return Err(Error::Forbidden("there are no tokens (AUTH_MODE=none)"));
        };
        let refuse = |fault: TokenFault, claims: Option<&Claims>| {
            audit.token_refused(fault, claims);
            Error::Unauthenticated(fault.as_str())
        };
        let Some(token) = token else {
            return Err(refuse(TokenFault::Missing, None));
        };
        let claims = verifier
            .verify(bare(token))
            .await
            .map_err(|error| match error {
                Rejected::Invalid(fault) => refuse(fault, None),
                Rejected::Unavailable(reason) => Error::Unavailable {
                    part: "identity provider",
                    reason,
                },
            })?;
        if revocations.revoked(&claims) {
            return Err(refuse(TokenFault::Revoked, Some(&claims)));
        }
        Ok(claims)
    }

    /// Whether the caller's token holds still.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] where it was revoked or has expired.
    pub fn check(&self, caller: &Caller) -> Result<(), Error> {
        match (self, caller) {
            (Self::Tokens { revocations, .. }, Caller::Known(claims)) => {
                if revocations.revoked(claims) {
                    Err(Error::Unauthenticated(TokenFault::Revoked.as_str()))
                } else if Time::now() >= Time::from_seconds(claims.expires_at) {
                    Err(Error::Unauthenticated(TokenFault::Expired.as_str()))
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }
}

/// The token in an `Authorization` header.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// The token without the scheme of a header, which some clients write before it wherever it stands.
fn bare(token: &str) -> &str {
    match token.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => token,
    }
}

/// The claims of a caller, where it has a token.
pub fn claims_of(caller: &Caller) -> Option<&Arc<Claims>> {
    match caller {
        Caller::Anyone => None,
        Caller::Known(claims) => Some(claims),
    }
}
