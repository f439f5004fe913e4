//! The worker's settings.

use std::{net::IpAddr, time::Duration};

use clap::{Parser, Subcommand};
use ticket_shared::config::{BadSetting, Common};

use crate::{adopt::Adopt, check_database::CheckDatabase, dead::DeadCommand};

/// Moves what happens to tickets from Redis into MongoDB. Runs as many processes as one likes.
#[derive(Parser, Clone, Debug)]
#[command(name = "ticket-worker", version)]
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
    /// Address of /livez, /readyz and /metrics, unless `OPS_HOST` says another
    #[arg(long, env = "HOST", default_value = "0.0.0.0")]
    pub host: IpAddr,
    /// Address of /livez, /readyz and /metrics [default: that of HOST]
    #[arg(long, env = "OPS_HOST")]
    pub ops_host: Option<IpAddr>,
    /// Port of /livez, /readyz and /metrics; 0 takes a free one and logs it
    #[arg(long, env = "OPS_PORT", default_value_t = 9101)]
    pub ops_port: u16,
    /// Name in the consumer group [default: the host name]. A process that starts under the name of a former
    /// one takes over what that one left unfinished, so a name should outlive restarts; of two processes on
    /// one host, one needs another name
    #[arg(long, env = "CONSUMER", default_value_t = host_name(), hide_default_value = true)]
    pub consumer: String,
    /// How many entries are read from each partition at once
    #[arg(long, env = "BATCH", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub batch: u64,
    /// To how many of each partition that grows while there is a backlog, memory permitting and as long as a batch
    /// takes no longer than a quarter of the grace period and of the idle time of claims; at least BATCH counts
    #[arg(long, env = "BATCH_MAX", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub batch_max: u64,
    /// For how many milliseconds a read waits for entries; a stop may take as long
    #[arg(long, env = "BLOCK_MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..=5_000))]
    pub block_ms: u64,
    /// For how many milliseconds entries gather before they are read, where there is no backlog. Fewer and larger
    /// writes to MongoDB, since a ticket costs one update in a batch; but where Redis loses its data, what has
    /// gathered is lost, too: compare what its append-only file may lose, a second by default
    #[arg(long, env = "LINGER_MS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(0..=5_000))]
    pub linger_ms: u64,
    /// After how many milliseconds an entry that another worker has read but not settled is taken over
    #[arg(long, env = "CLAIM_IDLE_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub claim_idle_ms: u64,
    /// After how many milliseconds of silence a worker that has nothing pending counts as gone, and its consumer
    /// is removed; longer than the idle time of claims
    #[arg(long, env = "CONSUMER_GONE_MS", default_value_t = 3_600_000, value_parser = clap::value_parser!(u64).range(200..=2_592_000_000))]
    pub consumer_gone_ms: u64,
    /// For how many milliseconds an error of MongoDB that is not understood holds up a whole batch; after that, only
    /// the documents that it is about, which are parked
    #[arg(long, env = "PARK_AFTER_MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub park_after_ms: u64,
    /// For how many milliseconds a stop waits for the batch in hand
    #[arg(long, env = "GRACE_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    pub grace_ms: u64,
}

/// Subcommands.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Persist entries until told to stop
    Run,
    /// Print the effective settings, secrets hidden; exit code 78 where they are wrong
    CheckConfig {
        /// Also try each command that will be used, at Redis and at MongoDB, and print which is refused; exit code 1
        /// if one is
        #[arg(long)]
        connect: bool,
    },
    /// Look after entries that could not be persisted and are parked; needs Redis only
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Say what another server left in the database and what will become of it; changes nothing, needs MongoDB only
    CheckDatabase(CheckDatabase),
    /// Take over the tickets of another server ahead of time. May be ended and run again, and runs beside the product
    Adopt(Adopt),
}

impl Config {
    /// Checks what clap can't.
    ///
    /// # Errors
    /// The first setting that is wrong.
    pub fn resolve(mut self) -> Result<Self, BadSetting> {
        self.common.resolve()?;
        if let Some(Command::Dead(command)) = &self.command {
            // What only workers need may be missing.
            command.check(self.common.partitions)?;
            return Ok(self);
        }
        ticket_mongo::uri::check(&self.common.mongo_uri)?;
        if self.consumer.trim().is_empty() {
            return Err(BadSetting::new("CONSUMER", "must not be empty"));
        }
        if self.claim_idle_ms <= self.block_ms {
            return Err(BadSetting::new(
                "CLAIM_IDLE_MS",
                "must be more than BLOCK_MS, or workers take each other's entries while they work on them",
            ));
        }
        if self.consumer_gone_ms <= self.claim_idle_ms {
            return Err(BadSetting::new(
                "CONSUMER_GONE_MS",
                "must be more than CLAIM_IDLE_MS, or workers count as gone between two signs of life",
            ));
        }
        Ok(self)
    }

    /// For how long a read waits for entries.
    pub fn block(&self) -> Duration {
        Duration::from_millis(self.block_ms)
    }

    /// For how long entries gather before they are read.
    pub fn linger(&self) -> Duration {
        Duration::from_millis(self.linger_ms)
    }

    /// After how long an unsettled entry of another worker is taken over.
    pub fn claim_idle(&self) -> Duration {
        Duration::from_millis(self.claim_idle_ms)
    }

    /// After how long a silent worker with nothing pending counts as gone.
    pub fn consumer_gone(&self) -> Duration {
        Duration::from_millis(self.consumer_gone_ms)
    }

    /// How long an error of MongoDB that is not understood holds up a whole batch.
    pub fn park_after(&self) -> Duration {
        Duration::from_millis(self.park_after_ms)
    }

    /// For how long a stop waits for the batch in hand.
    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

/// The name of this host: in a container, its own.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "worker".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Config, BadSetting> {
        Config::try_parse_from([&["ticket-worker"], args].concat())
            .unwrap()
            .resolve()
    }

    #[test]
    fn runs_without_any_argument() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.command, None);
        assert_eq!(config.ops_port, 9101);
        assert!(!config.consumer.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let setting = |args| parse(args).unwrap_err().setting;
        assert_eq!(
            setting(&["--mongo-uri", "mongodb://h/d?timeoutMS=5"]),
            "MONGO_URI"
        );
        assert_eq!(setting(&["--consumer", " "]), "CONSUMER");
        assert_eq!(
            setting(&["--claim-idle-ms", "500", "--block-ms", "500"]),
            "CLAIM_IDLE_MS"
        );
        assert_eq!(
            setting(&["--claim-idle-ms", "5000", "--consumer-gone-ms", "5000"]),
            "CONSUMER_GONE_MS"
        );
        let shown = parse(&["--mongo-uri", "mongo://root:hunter2@h"]).unwrap_err();
        assert!(!shown.to_string().contains("hunter2"), "{shown}");
    }

    #[test]
    fn commands_for_parked_entries_need_redis_only() {
        let dead = |args: &[&str]| parse(&[&["--mongo-uri", "x", "dead"], args].concat());
        assert!(dead(&["list", "--partition", "15"]).is_ok());
        assert!(dead(&["replay", "--all", "--reason", "newer"]).is_ok());
        assert!(dead(&["drop", "3:1-0", "--yes"]).is_ok());
        let setting = |args| dead(args).unwrap_err().setting;
        assert_eq!(setting(&["list", "--partition", "16"]), "--partition");
        assert_eq!(setting(&["show"]), "ID");
        assert_eq!(setting(&["replay"]), "ID");
        assert_eq!(
            setting(&["replay", "3:1-0", "--reason", "newer"]),
            "--reason"
        );
        assert_eq!(setting(&["drop", "3:1-0"]), "--yes");
    }
}
