//! The gateway's settings.

use std::{net::ToSocketAddrs, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use ticket_shared::config::{BadSetting, Common};

use crate::{
    admission::Limits,
    allowed_hosts::AllowedHosts,
    auth::{AuthMode, AuthSettings, TokenArgs},
};

mod browsers;

pub use browsers::BrowserSettings;

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
    /// Address to listen on [default: 0.0.0.0; with `AUTH_MODE=none` 127.0.0.1]
    #[arg(long, env = "HOST")]
    pub host: Option<String>,
    /// Port of /livez, /readyz and /metrics; 0 takes a free one and logs it
    #[arg(long, env = "OPS_PORT", default_value_t = 9100)]
    pub ops_port: u16,
    /// Address to listen on for `OPS_PORT` [default: that of HOST]
    #[arg(long, env = "OPS_HOST")]
    pub ops_host: Option<String>,
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a doc comment here would replace the help text of the whole command"
    )]
    pub browsers: BrowserSettings,
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
    /// For how many milliseconds a planned stop goes on serving while it sends clients elsewhere
    #[arg(long, env = "DRAIN_MS", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    pub drain_ms: u64,
    /// How long an HTTP connection is kept without a request, such as 75s: longer than proxies keep theirs
    #[arg(long, env = "KEEP_ALIVE", default_value = "75s", value_parser = keep_alive)]
    pub keep_alive: Duration,
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
    CheckConfig {
        /// Also try each command that will be used, at Redis and at MongoDB, and print which is refused; exit code 1
        /// if one is
        #[arg(long)]
        connect: bool,
    },
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
        for (setting, host) in [
            ("HOST", self.bind_host()),
            ("OPS_HOST", self.ops_bind_host()),
        ] {
            if (host, self.port).to_socket_addrs().is_err() {
                let problem = "is not an address of this machine, such as 0.0.0.0, 127.0.0.1 or ::";
                return Err(BadSetting::new(setting, problem));
            }
        }
        self.auth.resolve()?;
        self.browsers.origins()?;
        self.browsers.headers()?;
        self.allowed_hosts()?;
        self.limits.proxies()?;
        ticket_mongo::uri::check(&self.common.mongo_uri)?;
        let url = self.common.redis_url.expose();
        if self.durability == Durability::Replica && url.contains("-cluster://") {
            // One connection, whose writes are waited for, does not reach every server of a cluster.
            let problem = "replica does not work with a Redis Cluster; use stream";
            return Err(BadSetting::new("DURABILITY", problem));
        }
        Ok(self)
    }

    /// The hosts that requests may be for; `None`: any. Callers without tokens could be any page in a browser that reaches
    /// the gateway.
    ///
    /// # Errors
    /// Names `ALLOWED_HOSTS` if something in it is no host.
    pub fn allowed_hosts(&self) -> Result<Option<AllowedHosts>, BadSetting> {
        if self.auth.mode != Some(AuthMode::None) && !self.browsers.names_hosts() {
            return Ok(None);
        }
        let addresses = (self.bind_host(), self.port).to_socket_addrs();
        let beyond = addresses.is_ok_and(|mut all| all.any(|address| !address.ip().is_loopback()));
        AllowedHosts::parse(&self.browsers.allowed_hosts, beyond).map(Some)
    }

    /// The address to listen on; IPv6 may stand in brackets.
    pub fn bind_host(&self) -> &str {
        match &self.host {
            Some(host) => bare(host),
            None if self.auth.mode == Some(AuthMode::None) => "127.0.0.1",
            None => "0.0.0.0",
        }
    }

    /// The address to listen on for operators.
    pub fn ops_bind_host(&self) -> &str {
        self.ops_host
            .as_deref()
            .map_or_else(|| self.bind_host(), bare)
    }

    /// Completes what `check-config` shows with the values that are read from files or depend on other settings.
    pub fn show(&self, effective: &mut Vec<(String, String)>) {
        self.common.show(effective);
        for (name, value) in [
            ("OPS_HOST", self.ops_bind_host()),
            ("HOST", self.bind_host()),
        ] {
            effective.retain(|(shown, _)| shown != name);
            let port = effective.iter().position(|(shown, _)| shown == "PORT");
            effective.insert(port.map_or(0, |at| at + 1), (name.into(), value.into()));
        }
    }

    /// For how long a planned stop goes on serving while it sends clients elsewhere.
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}

/// An address without the brackets in which one of IPv6 may stand.
fn bare(host: &str) -> &str {
    let inside = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inside.unwrap_or(host)
}

fn keep_alive(text: &str) -> Result<Duration, String> {
    match ticket_shared::config::duration(text) {
        Ok(Duration::ZERO) => Err("must be at least 1s".into()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
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
    fn without_tokens_it_listens_on_loopback_unless_told() {
        let with = |args: &[&str]| parse(args).unwrap();
        let jwt = [
            "--auth-mode",
            "jwt",
            "--jwt-secret",
            "kq9ZsT4vLw1XnBd8Rp0Y2cF7-0123456789",
        ];
        let none = ["--auth-mode", "none"];
        let beyond = [&none[..], &["--host", "0.0.0.0"]].concat();
        let ops = [&none[..], &["--ops-host", "[::]"]].concat();
        for (args, host, ops) in [
            (&none[..], "127.0.0.1", "127.0.0.1"),
            (&jwt[..], "0.0.0.0", "0.0.0.0"),
            (&beyond[..], "0.0.0.0", "0.0.0.0"),
            (&ops[..], "127.0.0.1", "::"),
        ] {
            let config = with(args);
            assert_eq!(
                (config.bind_host(), config.ops_bind_host()),
                (host, ops),
                "{args:?}"
            );
        }
        assert_eq!(with(&jwt).allowed_hosts().unwrap(), None);
        assert!(with(&none).allowed_hosts().unwrap().is_some());
        let named = [&jwt[..], &["--allowed-hosts", "desk.example.com"]].concat();
        assert!(with(&named).allowed_hosts().unwrap().is_some());
        let mut shown = vec![("PORT".to_owned(), "5000".to_owned())];
        with(&none).show(&mut shown);
        assert_eq!(shown[1], ("HOST".into(), "127.0.0.1".into()));
        assert_eq!(shown[2], ("OPS_HOST".into(), "127.0.0.1".into()));
    }

    #[test]
    fn what_browsers_may_is_checked_at_the_start() {
        let with = |flag, value| parse(&["--auth-mode", "none", flag, value]);
        for (flag, value) in [
            ("--cors-origin", "https://a.b,capacitor://localhost,null"),
            ("--cors-headers", "x-tenant, X-Trace"),
            ("--cors-headers", ""),
            ("--allowed-hosts", "desk.example.com,gateway"),
            ("--allowed-hosts", ""),
        ] {
            assert!(with(flag, value).is_ok(), "{flag} {value}");
        }
        for (setting, flag, value) in [
            ("CORS_ORIGIN", "--cors-origin", "https://a.b/"),
            ("CORS_HEADERS", "--cors-headers", "x tenant"),
            ("CORS_HEADERS", "--cors-headers", "*"),
            ("ALLOWED_HOSTS", "--allowed-hosts", "gateway:5000"),
            ("OPS_HOST", "--ops-host", "127.0.0.1:9100"),
        ] {
            assert_eq!(with(flag, value).unwrap_err().setting, setting, "{value}");
        }
    }
}
