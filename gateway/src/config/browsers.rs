//! The settings that say which pages of browsers may use the gateway, and under which names.

use axum::http::HeaderName;
use clap::Args;
use ticket_shared::config::BadSetting;

use crate::origin::AllowedOrigins;

/// Pages of browsers that may use the gateway, and the names that it answers to.
#[derive(Args, Clone, Debug)]
pub struct BrowserSettings {
    /// Origins of pages that may connect and change something, separated by commas, each exact: any
    /// `scheme://host[:port]`, or null. The gateway's own origin always may
    #[arg(
        long,
        env = "CORS_ORIGIN",
        default_value = "http://localhost:3000",
        value_delimiter = ','
    )]
    pub cors_origin: Vec<String>,
    /// Request headers that these pages may send besides those of the API, separated by commas
    #[arg(long, env = "CORS_HEADERS", value_delimiter = ',')]
    pub cors_headers: Vec<String>,
    /// Hosts that requests may be for, separated by commas, without ports; `*`: any. Loopback always is one, and every
    /// IP address if HOST is not loopback [default: with `AUTH_MODE=none` no other, else any]
    #[arg(long, env = "ALLOWED_HOSTS", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,
}

impl BrowserSettings {
    /// The origins whose pages may connect.
    ///
    /// # Errors
    /// Names `CORS_ORIGIN` if one of them could never match.
    pub fn origins(&self) -> Result<AllowedOrigins, BadSetting> {
        AllowedOrigins::parse(&self.cors_origin)
    }

    /// The request headers that pages may send besides those of the API.
    ///
    /// # Errors
    /// Names `CORS_HEADERS` if one of them is no name of a header.
    pub fn headers(&self) -> Result<Vec<HeaderName>, BadSetting> {
        let given = self.cors_headers.iter().map(|name| name.trim());
        given
            .filter(|name| !name.is_empty())
            .map(|name| match HeaderName::try_from(name) {
                // With credentials it would be a header of that name.
                Ok(name) if name != "*" => Ok(name),
                _ => Err(BadSetting::new(
                    "CORS_HEADERS",
                    "must be names of headers such as x-tenant, separated by commas",
                )),
            })
            .collect()
    }

    /// Whether hosts were named.
    pub(super) fn names_hosts(&self) -> bool {
        self.allowed_hosts
            .iter()
            .any(|host| !host.trim().is_empty())
    }
}
