//! A replica of Redis that may lag, and take over.

use anyhow::bail;
use ticket_shared::lifecycle::Lifecycle;

use super::{
    STARTING, World,
    servers::{redis, redis_answers},
};
use crate::{proxy::Proxy, wait::until};

impl World {
    /// Makes the replica the Redis of this run, as a failover does; the master is dead by now.
    ///
    /// # Errors
    /// Where the replica refuses.
    pub(crate) fn promote_replica(&mut self) -> anyhow::Result<()> {
        let Some((replica, _)) = &mut self.replica else {
            bail!("no replica")
        };
        std::mem::swap(&mut self.redis, replica);
        let at = self.redis.address;
        self.redis_cli(at, &["replicaof", "no", "one"])?;
        for proxy in self.gateway_redis.iter().chain(&self.worker_redis) {
            proxy.lead_to(at);
        }
        Ok(())
    }

    /// Lets Redis hand over to the replica in good order. New connections lead there; the former master stays, and keeps
    /// those that it has.
    ///
    /// # Errors
    /// Redis does not answer.
    pub(crate) async fn hand_over(&mut self) -> anyhow::Result<()> {
        self.hand_over_unnamed().await?;
        self.name_primary();
        Ok(())
    }

    /// Leads new connections to the present primary.
    pub(crate) fn name_primary(&self) {
        for proxy in self.gateway_redis.iter().chain(&self.worker_redis) {
            proxy.lead_new_to(self.redis.address);
        }
    }

    /// Lets Redis hand over, while new connections lead to the former master still.
    ///
    /// # Errors
    /// Redis does not answer.
    pub(crate) async fn hand_over_unnamed(&mut self) -> anyhow::Result<()> {
        let Some((replica, _)) = &mut self.replica else {
            bail!("no replica")
        };
        let (former, at) = (self.redis.address, replica.address);
        std::mem::swap(&mut self.redis, replica);
        let port = at.port().to_string();
        self.redis_cli(former, &["failover", "to", "127.0.0.1", &port])?;
        let taken_over = async || {
            let role = self.redis_cli(at, &["role"]);
            role.is_ok_and(|role| role.starts_with("master"))
        };
        until("the replica takes over", STARTING, taken_over).await?;
        Ok(())
    }

    /// Starts the former master again, as a replica of the one that took over.
    ///
    /// # Errors
    /// Where it does not start.
    pub(crate) fn restart_former_master(&mut self) -> anyhow::Result<()> {
        let port = self.redis.address.port().to_string();
        let Some((former, _)) = &mut self.replica else {
            bail!("no replica")
        };
        former.add_arguments(&["--replicaof", "127.0.0.1", &port]);
        former.start()
    }

    /// Gives Redis a replica, by a way of its own, and waits until it follows.
    ///
    /// # Errors
    /// Redis does not answer.
    pub(super) async fn add_replica(&mut self, life: &Lifecycle) -> anyhow::Result<()> {
        let mut replica = redis(&self.programs, &self.directory, "replica")?;
        replica.start()?;
        let at = replica.address;
        until("the replica answers", STARTING, async || {
            redis_answers(at).await
        })
        .await?;
        let way = Proxy::open(life, self.redis.address).await?;
        self.redis_cli(
            at,
            &["replicaof", "127.0.0.1", &way.address.port().to_string()],
        )?;
        let linked = async || {
            let info = self.redis_cli(at, &["info", "replication"]);
            info.is_ok_and(|info| info.contains("master_link_status:up"))
        };
        until("the replica follows", STARTING, linked).await?;
        self.replica = Some((replica, way));
        Ok(())
    }
}
