//! Who is believed, and by which keys: the settings, and what is wrong with them.

use std::{path::PathBuf, time::Duration};

use axum::http::Uri;
use clap::{Args, ValueEnum};
use jsonwebtoken::Algorithm;
use ticket_shared::config::{BadSetting, Secret, duration, read_secret};

use super::{Bounds, keys, weak};

/// Who is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum AuthMode {
    /// Clients are whoever they say they are, as with the former server. For local use and trusted networks.
    None,
    /// Clients are who their signed token says.
    Jwt,
}

/// How a token may be signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum SignedWith {
    /// HMAC with SHA-256, by a shared secret.
    #[value(name = "HS256")]
    Hs256,
    /// RSA (PKCS #1 v1.5) with SHA-256.
    #[value(name = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[value(name = "ES256")]
    Es256,
    /// Ed25519.
    #[value(name = "EdDSA")]
    EdDsa,
}

impl SignedWith {
    pub(super) fn algorithm(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

/// Who is believed, and by which keys.
#[derive(Args, Clone, Debug)]
pub struct AuthSettings {
    /// Who is believed: jwt, who a signed token says; none, whoever clients say they are. Must be set
    #[arg(long = "auth-mode", env = "AUTH_MODE")]
    pub mode: Option<AuthMode>,
    /// Secret that signs tokens (HS256), 32 bytes or more
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<Secret>,
    /// A file that holds it
    #[arg(long, env = "JWT_SECRET_FILE")]
    pub jwt_secret_file: Option<PathBuf>,
    /// The secret before, whose tokens still hold
    #[arg(long, env = "JWT_SECRET_PREVIOUS", hide_env_values = true)]
    pub jwt_secret_previous: Option<Secret>,
    /// A file that holds it
    #[arg(long, env = "JWT_SECRET_PREVIOUS_FILE")]
    pub jwt_secret_previous_file: Option<PathBuf>,
    /// Where the identity provider publishes its keys: https, or http on this machine
    #[arg(long, env = "JWKS_URL")]
    pub jwks_url: Option<String>,
    /// A file with public keys in PEM (RS256, ES256, EdDSA)
    #[arg(long, env = "JWT_KEY_FILE")]
    pub jwt_key_file: Option<PathBuf>,
    /// What `aud` of a token must be or hold
    #[arg(long, env = "JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,
    /// What `iss` of a token must be
    #[arg(long, env = "JWT_ISSUER")]
    pub jwt_issuer: Option<String>,
    /// How tokens may be signed, separated by commas [default: what the keys are for]
    #[arg(long, env = "JWT_ALGORITHMS", value_delimiter = ',')]
    pub jwt_algorithms: Option<Vec<SignedWith>>,
    /// By how many seconds clocks may differ
    #[arg(long, env = "JWT_LEEWAY_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=30))]
    pub jwt_leeway_seconds: u64,
    /// Longest validity of a token, from `iat` to `exp`; without `iat`, from now. 0 is no bound
    #[arg(long, env = "TOKEN_MAX_AGE", default_value = "24h", value_parser = duration)]
    pub token_max_age: Duration,
    /// For how many seconds the provider's keys hold while it can't be reached
    #[arg(long, env = "JWKS_MAX_AGE_SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub jwks_max_age_seconds: u64,
    /// The provider is asked again after this many seconds at the earliest
    #[arg(long, env = "JWKS_REFRESH_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub jwks_refresh_seconds: u64,
}

impl AuthSettings {
    /// Reads the files that hold secrets, and checks what clap can't.
    ///
    /// # Errors
    /// The first setting that is wrong.
    pub fn resolve(&mut self) -> Result<(), BadSetting> {
        let Some(mode) = self.mode else {
            return Err(BadSetting::new(
                "AUTH_MODE",
                "is not set; jwt believes signed tokens, none trusts every client, for local use and trusted networks only",
            ));
        };
        if mode == AuthMode::None {
            return Ok(());
        }
        self.read_secrets()?;
        if let Some(path) = &self.jwt_key_file {
            keys::from_file(path)?;
        }
        self.jwks()?;
        let public = self.jwt_key_file.is_some() || self.jwks_url.is_some();
        let shared = self.jwt_secret.is_some();
        if !public && !shared {
            let problem =
                "jwt needs a key: set JWT_SECRET, JWT_KEY_FILE or JWKS_URL (or one of their _FILE)";
            return Err(BadSetting::new("AUTH_MODE", problem));
        }
        for algorithm in self.jwt_algorithms.iter().flatten() {
            let has_key = match algorithm {
                SignedWith::Hs256 => shared,
                _ => public,
            };
            if !has_key {
                let problem = "allows an algorithm that there is no key for";
                return Err(BadSetting::new("JWT_ALGORITHMS", problem));
            }
        }
        Ok(())
    }

    /// Reads and checks the secrets alone, whatever the mode.
    ///
    /// # Errors
    /// Names the setting of a secret that can't be read or is easy to guess.
    pub fn read_secrets(&mut self) -> Result<(), BadSetting> {
        if let Some(path) = &self.jwt_secret_file {
            self.jwt_secret = Some(read_secret("JWT_SECRET_FILE", path)?);
        }
        if let Some(path) = &self.jwt_secret_previous_file {
            self.jwt_secret_previous = Some(read_secret("JWT_SECRET_PREVIOUS_FILE", path)?);
        }
        if let Some(secret) = &self.jwt_secret {
            weak::check("JWT_SECRET", secret)?;
        }
        if let Some(secret) = &self.jwt_secret_previous {
            weak::check("JWT_SECRET_PREVIOUS", secret)?;
            if self.jwt_secret.is_none() {
                let problem = "is set, but JWT_SECRET is not";
                return Err(BadSetting::new("JWT_SECRET_PREVIOUS", problem));
            }
        }
        Ok(())
    }

    /// Where the provider publishes its keys.
    pub(super) fn jwks(&self) -> Result<Option<Uri>, BadSetting> {
        let bad = |problem: &str| BadSetting::new("JWKS_URL", problem);
        let Some(url) = &self.jwks_url else {
            return Ok(None);
        };
        let uri: Uri = url.parse().map_err(|_| bad("is not a URL"))?;
        let host = uri.host().unwrap_or_default();
        let user = uri.authority().is_some_and(|to| to.as_str().contains('@'));
        match uri.scheme_str() {
            _ if host.is_empty() || user => Err(bad("must have a host, and no user")),
            Some("https") => Ok(Some(uri)),
            Some("http") if is_loopback(host) => Ok(Some(uri)),
            Some("http") => Err(bad(
                "must be https: whoever can change the answer could sign any token",
            )),
            _ => Err(bad("must begin with https://")),
        }
    }

    /// How tokens may be signed.
    pub(super) fn allowed(&self) -> Vec<Algorithm> {
        if let Some(chosen) = &self.jwt_algorithms {
            return chosen.iter().map(|with| with.algorithm()).collect();
        }
        let mut allowed = Vec::new();
        if self.jwt_secret.is_some() {
            allowed.push(Algorithm::HS256);
        }
        if self.jwt_key_file.is_some() || self.jwks_url.is_some() {
            allowed.extend([Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]);
        }
        allowed
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            leeway: self.leeway(),
            max_age: self.token_max_age,
        }
    }

    /// Seconds by which clocks may differ.
    pub fn leeway(&self) -> i64 {
        i64::try_from(self.jwt_leeway_seconds).unwrap_or(0)
    }

    pub(super) fn max_age(&self) -> Duration {
        Duration::from_secs(self.jwks_max_age_seconds)
    }

    pub(super) fn refresh(&self) -> Duration {
        Duration::from_secs(self.jwks_refresh_seconds)
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
