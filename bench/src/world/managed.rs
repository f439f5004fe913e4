//! Redis as others run it: replicas under a Sentinel, and one shard in cluster mode.

use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{
    STARTING, World,
    servers::{redis, redis_answers},
};
use crate::{
    process::{Process, free_address},
    wait::until,
};

/// The name of the service that the Sentinel watches over.
const SERVICE: &str = "mymaster";
/// The arguments of a server in cluster mode.
pub(super) const IN_CLUSTER_MODE: [&str; 4] =
    ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];

impl World {
    /// Gives Redis two replicas and a Sentinel.
    ///
    /// # Errors
    /// If one does not start or does not follow.
    pub(super) async fn add_sentinel(&mut self) -> anyhow::Result<()> {
        let port = self.redis.address.port().to_string();
        for name in ["replica-0", "replica-1"] {
            let mut replica = redis(&self.programs, &self.directory, name)?;
            replica.add_arguments(&["--replicaof", "127.0.0.1", &port]);
            self.join(replica).await?;
        }
        let address = free_address()?;
        let file = self.directory.join("sentinel.conf");
        std::fs::write(
            &file,
            format!(
                "port {}\nbind 127.0.0.1\nsentinel monitor {SERVICE} 127.0.0.1 {port} 1\n\
                 sentinel down-after-milliseconds {SERVICE} 1000\nsentinel failover-timeout {SERVICE} 6000\n",
                address.port()
            ),
        )?;
        let mut sentinel = Process::new("sentinel", &self.programs.redis, address, &self.directory)
            .arg([file.display().to_string(), "--sentinel".to_owned()]);
        sentinel.start()?;
        self.managed.push(sentinel);
        // Before it knows a replica it has none to promote.
        until("the Sentinel knows both replicas", STARTING, async || {
            let known = self.redis_cli(address, &["sentinel", "replicas", SERVICE]);
            known.is_ok_and(|known| known.matches("runid").count() == 2)
        })
        .await?;
        self.redis_url = Some(format!(
            "redis-sentinel://{address}/0?sentinelServiceName={SERVICE}"
        ));
        Ok(())
    }

    /// Gives all slots to Redis, which runs in cluster mode, and a replica to it.
    ///
    /// # Errors
    /// If that does not come about.
    pub(super) async fn add_shard(&mut self, scheme: &str) -> anyhow::Result<()> {
        let primary = self.redis.address;
        self.redis_cli(primary, &["cluster", "addslotsrange", "0", "16383"])?;
        let id = self.redis_cli(primary, &["cluster", "myid"])?;
        let mut replica = redis(&self.programs, &self.directory, "replica-0")?;
        replica.add_arguments(&IN_CLUSTER_MODE);
        replica.start()?;
        let at = replica.address;
        until("the replica answers", STARTING, async || {
            redis_answers(at).await
        })
        .await?;
        let port = primary.port().to_string();
        self.redis_cli(at, &["cluster", "meet", "127.0.0.1", &port])?;
        until("the replica knows the primary", STARTING, async || {
            let asked = self.redis_cli(at, &["cluster", "replicate", &id]);
            asked.is_ok()
        })
        .await?;
        until("the replica follows", STARTING, async || {
            let info = self.redis_cli(at, &["info", "replication"]);
            info.is_ok_and(|info| info.contains("master_link_status:up"))
        })
        .await?;
        until("the cluster is whole", STARTING, async || {
            let info = self.redis_cli(primary, &["cluster", "info"]);
            info.is_ok_and(|info| info.contains("cluster_state:ok"))
        })
        .await?;
        self.managed.push(replica);
        self.redis_url = Some(format!("{scheme}://{primary}"));
        Ok(())
    }

    /// Starts a replica, and waits until it follows.
    async fn join(&mut self, mut replica: Process) -> anyhow::Result<()> {
        replica.start()?;
        let at = replica.address;
        until("the replica follows", STARTING, async || {
            let info = self.redis_cli(at, &["info", "replication"]);
            info.is_ok_and(|info| info.contains("master_link_status:up"))
        })
        .await?;
        self.managed.push(replica);
        Ok(())
    }

    /// Stops writes and asks the Sentinel for a failover, as an operator does: the former primary is demoted only later, and
    /// loses what it accepts until then.
    ///
    /// # Errors
    /// If one of them refuses.
    pub(crate) fn ask_for_failover(&self) -> anyhow::Result<()> {
        let pause = ["client", "pause", "30000", "write"];
        self.redis_cli(self.redis.address, &pause)?;
        let sentinel = self.managed.last().context("no Sentinel")?.address;
        self.redis_cli(sentinel, &["sentinel", "failover", SERVICE])?;
        Ok(())
    }

    /// Lets the shard's replica take over, in agreement with its primary.
    ///
    /// # Errors
    /// If it refuses.
    pub(crate) fn fail_over_shard(&self) -> anyhow::Result<()> {
        let replica = self.managed.last().context("no replica")?.address;
        self.redis_cli(replica, &["cluster", "failover"])?;
        Ok(())
    }

    /// Waits until the Sentinel names another primary.
    ///
    /// # Errors
    /// If it does not in time.
    pub(crate) async fn named_by_sentinel(&self) -> anyhow::Result<Duration> {
        let sentinel = self.managed.last().context("no Sentinel")?.address;
        let former = self.redis.address.port().to_string();
        let question = ["sentinel", "get-master-addr-by-name", SERVICE];
        until("Sentinel names another primary", STARTING, async || {
            let named = self.redis_cli(sentinel, &question);
            named.is_ok_and(|named| !named.contains(&former))
        })
        .await
    }

    /// Waits until another server is the primary.
    ///
    /// # Errors
    /// If none is in time.
    pub(crate) async fn taken_over(&self) -> anyhow::Result<Duration> {
        let replicas: Vec<_> = self.managed.iter().map(|each| each.address).collect();
        if replicas.is_empty() {
            bail!("no replica");
        }
        until("a replica takes over", STARTING, async || {
            replicas.iter().any(|at| {
                let role = self.redis_cli(*at, &["role"]);
                role.is_ok_and(|role| role.starts_with("master"))
            })
        })
        .await
    }
}
