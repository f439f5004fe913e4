//! `ticket-gateway token`: a token signed with `JWT_SECRET`, for development and tests.

use std::time::Duration;

use clap::Args;
use jsonwebtoken::{Algorithm, EncodingKey, Header, get_current_timestamp};
use serde::Serialize;
use ticket_shared::{config::BadSetting, domain::limits, id::Id, text::is_exact_id};

use super::{AuthSettings, Role, provider};

/// What the token says.
#[derive(Args, Clone, Debug)]
pub struct TokenArgs {
    /// Whose it is
    #[arg(long)]
    pub sub: String,
    /// What they may do
    #[arg(long)]
    pub role: Role,
    /// What they are called [default: as `sub`]
    #[arg(long)]
    pub name: Option<String>,
    /// The only tickets that they may see, separated by commas [default: what the role may]
    #[arg(long, value_delimiter = ',')]
    pub tickets: Option<Vec<Id>>,
    /// For how many seconds it holds
    #[arg(long, default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub expires_in: u64,
    /// Its id, by which it can be revoked
    #[arg(long)]
    pub jti: Option<String>,
}

#[derive(Serialize)]
struct Said<'a> {
    sub: &'a str,
    role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tickets: Option<&'a [Id]>,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
}

/// Signs a token with `JWT_SECRET`, for `JWT_AUDIENCE` and by `JWT_ISSUER` where they are set.
///
/// # Errors
/// `JWT_SECRET` is missing or easy to guess, or no gateway with these settings would take the token.
pub fn sign(settings: &AuthSettings, args: &TokenArgs) -> Result<String, BadSetting> {
    provider::install();
    let mut settings = settings.clone();
    settings.read_secrets()?;
    let secret = settings
        .jwt_secret
        .as_ref()
        .ok_or_else(|| BadSetting::new("JWT_SECRET", "is not set; it signs the token"))?;
    if !is_exact_id(&args.sub, limits::ID) {
        let problem =
            "must have 1 to 128 characters, no control characters, and no white space at its ends";
        return Err(BadSetting::new("--sub", problem));
    }
    let max_age = settings.token_max_age;
    if !max_age.is_zero() && Duration::from_secs(args.expires_in) > max_age {
        let problem = "is shorter than --expires-in";
        return Err(BadSetting::new("TOKEN_MAX_AGE", problem));
    }
    let now = get_current_timestamp();
    let said = Said {
        sub: &args.sub,
        role: args.role,
        name: args.name.as_deref(),
        tickets: args.tickets.as_deref(),
        iat: now,
        exp: now + args.expires_in,
        jti: args.jti.as_deref(),
        aud: settings.jwt_audience.as_deref(),
        iss: settings.jwt_issuer.as_deref(),
    };
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &said, &key)
        .map_err(|_| BadSetting::new("JWT_SECRET", "can't sign"))
}
