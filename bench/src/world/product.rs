//! The gateways and workers of a run, with their settings.

use std::net::SocketAddr;

use anyhow::Context as _;
use ticket_shared::lifecycle::Lifecycle;
use ticket_testing::OpMsg;

use super::{Baseline, DATABASE, PARTITIONS, PREFIX, Part, Shape, World};
use crate::{
    process::{Process, find, free_address},
    proxy::Proxy,
};

impl World {
    /// Starts another gateway.
    ///
    /// # Errors
    /// Where it does not start.
    pub(super) async fn add_gateway(
        &mut self,
        number: usize,
        life: &Lifecycle,
        shape: &Shape,
    ) -> anyhow::Result<()> {
        let (address, ops) = (free_address()?, free_address()?);
        let mut redis = self.redis.address;
        if shape.proxied.contains(&Part::Gateways) {
            let proxy = Proxy::open(life, redis).await?;
            redis = proxy.address;
            self.gateway_redis.push(proxy);
        }
        let name = format!("gateway-{number}");
        let late = shape
            .clock
            .filter(|_| number == 1)
            .zip(self.programs.faketime.as_ref());
        let limit = shape.descriptors.filter(|_| number == 0);
        let mut process = match limit {
            // The shell becomes the gateway.
            Some(most) => Process::new(&name, "sh".as_ref(), address, &self.directory)
                .arg(["-c", &format!("ulimit -n {most} && exec \"$0\"")])
                .arg([self.programs.gateway.display()]),
            None => Process::new(&name, &self.programs.gateway, address, &self.directory),
        };
        if let Some((clock, library)) = late {
            // Not by the program `faketime`: the process would be its child, and survive it.
            process = process
                .env("LD_PRELOAD", &library.display())
                .env("FAKETIME", clock);
        }
        let mongo = self
            .op_msg
            .as_ref()
            .map_or(self.mongo.address, OpMsg::address);
        process = self
            .settings(process, redis, mongo)
            .env("AUTH_MODE", "none")
            .env("PORT", &address.port())
            .env("OPS_PORT", &ops.port())
            .env("DRAIN_MS", "2000");
        // The load comes from one address, and each of its clients stands for many.
        for limit in [
            "CONNECT_RATE",
            "CONNECT_RATE_ADDRESS",
            "MAX_CONNECTIONS_ADDRESS",
            "EVENT_RATE",
            "IDENTITY_RATE",
            "ADDRESS_RATE",
        ] {
            process = process.env(limit, &0);
        }
        for (setting, value) in &shape.gateway_env {
            process = process.env(setting, value);
        }
        self.gateways.push(process);
        self.ops.push(ops);
        self.gateways[number].start()
    }

    /// Starts another process of the baseline, which stands where a gateway would.
    ///
    /// # Errors
    /// Where it does not start, or there is no Node.js.
    pub(super) fn add_baseline(
        &mut self,
        number: usize,
        baseline: &Baseline,
        shape: &Shape,
    ) -> anyhow::Result<()> {
        let node = find("NODE_BIN", &["node"], &[]).context("no node on the PATH")?;
        let address = free_address()?;
        let name = format!("node-{number}");
        let mut process = Process::new(&name, &node, address, &self.directory)
            .arg([baseline.script.display()])
            .env("NODE_ENV", "production")
            .env("MONGO_URI", &mongo_uri(self.mongo.address))
            .env("HOST", "127.0.0.1")
            .env("PORT", &address.port());
        if shape.gateways > 1 {
            process = process.env("REDIS_URL", &format!("redis://{}", self.redis.address));
        }
        if baseline.best_case {
            process = process.env("BEST_CASE", "1");
        }
        self.gateways.push(process);
        self.ops.push(address);
        self.gateways[number].start()
    }

    /// Starts another worker.
    ///
    /// # Errors
    /// Where it does not start.
    pub(crate) fn add_worker(&mut self, number: usize, shape: &Shape) -> anyhow::Result<()> {
        let ops = free_address()?;
        let way =
            |proxy: &Option<Proxy>, server| proxy.as_ref().map_or(server, |proxy| proxy.address);
        let redis = way(&self.worker_redis, self.redis.address);
        let mongo = way(&self.worker_mongo, self.mongo.address);
        let mongo = self.op_msg.as_ref().map_or(mongo, OpMsg::address);
        let name = format!("worker-{number}");
        let process = Process::new(&name, &self.programs.worker, ops, &self.directory);
        let mut process = self
            .settings(process, redis, mongo)
            .env("CONSUMER", &name)
            .env("OPS_PORT", &ops.port())
            .env("BLOCK_MS", "200");
        for (setting, value) in &shape.worker_env {
            process = process.env(setting, value);
        }
        self.workers.push(process);
        self.workers[number].start()
    }

    /// The URI by way of an address. A server that belongs to a set names its own, where the driver would go around the proxy.
    fn mongo_uri_by(&self, address: SocketAddr) -> String {
        match &self.op_msg {
            Some(op_msg) => op_msg.uri(DATABASE, ""),
            None => mongo_uri(address),
        }
    }

    /// The settings that gateways and workers share.
    fn settings(&self, process: Process, redis: SocketAddr, mongo: SocketAddr) -> Process {
        let alone = || format!("redis://{redis}");
        process
            .env("REDIS_URL", &self.redis_url.clone().unwrap_or_else(alone))
            .env("MONGO_URI", &self.mongo_uri_by(mongo))
            .env("KEY_PREFIX", PREFIX)
            .env("PARTITIONS", &PARTITIONS)
            .env("HOST", "127.0.0.1")
            .env("LOG", "info")
            .env("LOG_FORMAT", "json")
    }
}

/// The URI of the run's database at a server.
pub(super) fn mongo_uri(address: SocketAddr) -> String {
    format!("mongodb://{address}/{DATABASE}")
}
