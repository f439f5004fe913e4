//! The gateway's settings.

use std::{net::ToSocketAddrs, time::Duration};

use axum::http::HeaderValue;
use clap::{Parser, Subcommand, ValueEnum};
use ticket_shared::config::{BadSetting, Common};

use crate::{
    admission::Limits,
    auth::{AuthSettings, TokenArgs},
};

/// Terminates Socket.IO connections of ticket clients and serves REST.
#[derive(Parser, Clone, Debug)]
#[command(name = "ticket-gateway", version)]
pub struct Config {
    /// What to do; without it: run
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a doc comment here would replace the help text of the whole command"
    )]
    pub common: Common,
    /// Port of REST and Socket.IO; 0 takes a free one and logs it
    #[arg(long, env = "PORT", default_value_t = 5000)]
    pub port: u16,
    /// Address to listen on
    #[arg(long, env = "HOST", default_value = "0.0.0.0")]
    pub host: String,
    /// Port of /livez, /readyz and /metrics; 0 takes a free one and logs it
    #[arg(long, env = "OPS_PORT", default_value_t = 9100)]
    pub ops_port: u16,
    /// Origins that browsers may connect from, separated by commas, each exact
    #[arg(
        long,
        env = "CORS_ORIGIN",
        default_value = "http://localhost:3000",
        value_delimiter = ','
    )]
    pub cors_origin: Vec<String>,
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a doc comment here would replace the help text of the whole command"
    )]
    pub auth: AuthSettings,
    /// What an acknowledged change has survived: stream is Redis with AOF, replica is that and its replicas
    #[arg(long, env = "DURABILITY", default_value = "stream")]
    pub durability: Durability,
    /// How many replicas have it, with DURABILITY=replica
    #[arg(long, env = "DURABILITY_REPLICAS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub durability_replicas: u16,
    /// Changes are refused while more entries than this are not in MongoDB yet
    #[arg(long, env = "BACKLOG_MAX", default_value_t = 1_000_000)]
    pub backlog_max: u64,
    /// Changes are refused while Redis uses more than this share of its maxmemory
    #[arg(long, env = "MEMORY_MAX_PERCENT", default_value_t = 85, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub memory_max_percent: u64,
    /// For how many milliseconds clients are sent away before a planned stop
    #[arg(long, env = "DRAIN_MS", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    pub drain_ms: u64,
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a doc comment here would replace the help text of the whole command"
    )]
    pub limits: Limits,
}

/// Subcommands.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Print the effective settings, secrets hidden; exit code 78 where they are wrong
    CheckConfig,
    /// Print a token signed with `JWT_SECRET`, for development
    Token(TokenArgs),
}

/// What an acknowledged change has survived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Durability {
    /// Appended to Redis, which writes it to its append-only file.
    Stream,
    /// That, and it has reached replicas.
    Replica,
}

impl Config {
    /// Checks what clap can't.
    ///
    /// # Errors
    /// The first setting that is wrong.
    pub fn resolve(mut self) -> Result<Self, BadSetting> {
        self.common.resolve()?;
        if self.port != 0 && self.port == self.ops_port {
            return Err(BadSetting::new(
                "OPS_PORT",
                "must be another port than PORT",
            ));
        }
        if (self.bind_host(), self.port).to_socket_addrs().is_err() {
            let problem = "is not an address of this machine, such as 0.0.0.0, 127.0.0.1 or ::";
            return Err(BadSetting::new("HOST", problem));
        }
        self.auth.resolve()?;
        self.origins()?;
        self.limits.proxies()?;
        crate::store::check_uri(&self.common.mongo_uri)?;
        let url = self.common.redis_url.expose();
        if self.durability == Durability::Replica && url.contains("-cluster://") {
            // One connection, whose writes are waited for, does not reach every server of a cluster.
            let problem = "replica does not work with a Redis Cluster; use stream";
            return Err(BadSetting::new("DURABILITY", problem));
        }
        Ok(self)
    }

    /// The origins that browsers may connect from.
    ///
    /// # Errors
    /// Names `CORS_ORIGIN` where one is not an origin.
    pub fn origins(&self) -> Result<Vec<HeaderValue>, BadSetting> {
        self.cors_origin
            .iter()
            .map(|origin| {
                let origin = origin.trim();
                let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
                match (host, HeaderValue::from_str(origin)) {
                    (Some(host), Ok(value)) if !host.is_empty() && !host.contains(['/', '*']) => Ok(value),
                    _ => Err(BadSetting::new(
                        "CORS_ORIGIN",
                        "must be origins such as https://desk.example.com, separated by commas, without a path",
                    )),
                }
            })
            .collect()
    }

    /// The address to listen on; IPv6 may stand in brackets.
    pub fn bind_host(&self) -> &str {
        let host = self.host.as_str();
        let inside = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        inside.unwrap_or(host)
    }

    /// For how long clients are sent away before a planned stop.
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Config, BadSetting> {
        Config::try_parse_from([&["ticket-gateway"], args].concat())
            .unwrap()
            .resolve()
    }

    #[test]
    fn trust_must_be_chosen() {
        let error = parse(&[]).unwrap_err();
        assert_eq!(error.setting, "AUTH_MODE");
        assert!(parse(&["--auth-mode", "none"]).is_ok());
    }

    #[test]
    fn ports_differ_unless_the_system_chooses_them() {
        let with = |port| parse(&["--auth-mode", "none", "--port", port, "--ops-port", port]);
        assert_eq!(with("5000").unwrap_err().setting, "OPS_PORT");
        assert!(with("0").is_ok());
    }

    #[test]
    fn a_host_is_an_address_or_a_name_of_one() {
        let with = |host| parse(&["--auth-mode", "none", "--host", host]);
        for good in ["0.0.0.0", "::", "[::1]", "localhost"] {
            assert!(with(good).is_ok(), "{good}");
        }
        for bad in ["", "127.0.0.1:5000", "http://localhost"] {
            assert_eq!(with(bad).unwrap_err().setting, "HOST", "{bad}");
        }
    }

    #[test]
    fn origins_are_exact() {
        let with = |origin| parse(&["--auth-mode", "none", "--cors-origin", origin]);
        assert_eq!(
            with("http://localhost:3000,https://a.b")
                .unwrap()
                .origins()
                .unwrap()
                .len(),
            2
        );
        for bad in ["*", "localhost:3000", "https://*.b", "https://a.b/", ""] {
            assert_eq!(with(bad).unwrap_err().setting, "CORS_ORIGIN", "{bad}");
        }
    }
}
