//! The processes of one run: Redis, a MongoDB server, gateways and workers, all private, on free ports.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::bail;
use ticket_shared::lifecycle::Lifecycle;
use ticket_testing::OpMsg;

use crate::{process::Process, proxy::Proxy, rest, wait::until};

mod crowded;
mod disk;
mod front;
mod managed;
mod product;
mod replica;
mod servers;
mod shape;

pub(crate) use disk::SmallDisk;
pub(crate) use front::Front;
pub(crate) use servers::Programs;
use servers::{mongo, mongo_answers, redis, redis_answers};
pub(crate) use shape::{Baseline, Managed, Part, Shape};

/// How long anything may take to start. Generous: machines differ.
const STARTING: Duration = Duration::from_mins(1);

/// The key prefix of a run.
pub(crate) const PREFIX: &str = "faults";
/// The partitions of a run.
pub(crate) const PARTITIONS: u16 = 16;
/// The database of a run.
pub(crate) const DATABASE: &str = "faults";

/// The processes.
#[derive(Debug)]
pub(crate) struct World {
    /// The Redis server.
    pub redis: Process,
    /// The MongoDB server.
    pub mongo: Process,
    /// The gateways.
    pub gateways: Vec<Process>,
    /// The workers.
    pub workers: Vec<Process>,
    /// The gateways' ways to Redis.
    pub gateway_redis: Vec<Proxy>,
    /// The workers' way to Redis.
    pub worker_redis: Option<Proxy>,
    /// The workers' way to MongoDB.
    pub worker_mongo: Option<Proxy>,
    /// The replica of Redis, and its way to the master.
    pub replica: Option<(Process, Proxy)>,
    /// Further servers of Redis: replicas, and a Sentinel.
    pub managed: Vec<Process>,
    /// The way to MongoDB that can refuse single commands.
    pub op_msg: Option<OpMsg>,
    /// Where the gateways answer operators.
    pub ops: Vec<SocketAddr>,
    /// The run's own directory.
    pub directory: PathBuf,
    /// The URL of Redis, if its address alone does not do.
    redis_url: Option<String>,
    programs: Programs,
    /// Given back last, when Redis has ended.
    _disk: Option<SmallDisk>,
}

impl World {
    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// Where something does not start.
    pub(crate) async fn start(
        programs: &Programs,
        directory: &Path,
        life: &Lifecycle,
        shape: &Shape,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let disk = shape
            .small_disk
            .then(|| SmallDisk::mount(&directory.join("redis")))
            .transpose()?;
        let mut redis = redis(programs, directory, "redis")?;
        if matches!(shape.managed, Managed::Shard(_)) {
            redis.add_arguments(&managed::IN_CLUSTER_MODE);
        }
        let mongo = mongo(programs, directory, shape)?;
        let mut world = Self {
            redis,
            mongo,
            gateways: Vec::new(),
            workers: Vec::new(),
            gateway_redis: Vec::new(),
            worker_redis: None,
            worker_mongo: None,
            replica: None,
            managed: Vec::new(),
            op_msg: None,
            redis_url: None,
            ops: Vec::new(),
            directory: directory.to_owned(),
            programs: programs.clone(),
            _disk: disk,
        };
        if !shape.servers_last {
            world.start_servers().await?;
        }
        if shape.replica {
            world.add_replica(life).await?;
        }
        match shape.managed {
            Managed::No => {}
            Managed::Sentinel => world.add_sentinel().await?,
            Managed::Shard(scheme) => world.add_shard(scheme).await?,
        }
        if shape.refusing_mongo {
            world.op_msg = Some(OpMsg::of(&world.mongo_uri()).await?);
        }
        for number in 0..shape.gateways {
            match &shape.baseline {
                Some(baseline) => world.add_baseline(number, baseline, shape)?,
                None => world.add_gateway(number, life, shape).await?,
            }
        }
        if shape.proxied.contains(&Part::Workers) {
            world.worker_redis = Some(Proxy::open(life, world.redis.address).await?);
            world.worker_mongo = Some(Proxy::open(life, world.mongo.address).await?);
        }
        for number in 0..shape.workers {
            world.add_worker(number, shape)?;
        }
        if !shape.servers_last {
            world.ready().await?;
        }
        Ok(world)
    }

    /// Starts Redis and MongoDB, and waits until they answer.
    ///
    /// # Errors
    /// Where they don't.
    pub(crate) async fn start_servers(&mut self) -> anyhow::Result<()> {
        self.redis.start()?;
        self.mongo.start()?;
        until("Redis answers", STARTING, async || {
            self.redis_answers().await
        })
        .await?;
        until("MongoDB answers", STARTING, async || {
            mongo_answers(self.mongo.address).await
        })
        .await?;
        Ok(())
    }

    /// With gateways and workers that wait for Redis and MongoDB: sees that they do, and starts the servers.
    ///
    /// # Errors
    /// Where a process gives up, or says that it is ready without them, or does not become ready with them.
    pub(crate) async fn absent_then_there(&mut self) -> anyhow::Result<()> {
        for gateway in 0..self.gateways.len() {
            let ops = self.ops[gateway].to_string();
            until("a gateway answers without Redis", STARTING, async || {
                matches!(rest::status(&ops, "/livez").await, Ok(200))
            })
            .await?;
            if self.gateway_ready(gateway).await {
                bail!("gateway {gateway} says that it is ready without Redis");
            }
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        for process in self.gateways.iter_mut().chain(&mut self.workers) {
            if let Some(status) = process.ended()? {
                bail!("{} gave up: {status}", process.name);
            }
        }
        self.start_servers().await?;
        self.ready().await?;
        Ok(())
    }

    /// Waits until all gateways are ready.
    ///
    /// # Errors
    /// Where one is not, in time.
    pub(crate) async fn ready(&self) -> anyhow::Result<Duration> {
        let ready = async || {
            for gateway in 0..self.gateways.len() {
                if !self.gateway_ready(gateway).await {
                    return false;
                }
            }
            true
        };
        until("all gateways are ready", STARTING, ready).await
    }

    /// Whether a gateway says that it is ready.
    pub(crate) async fn gateway_ready(&self, gateway: usize) -> bool {
        let status = rest::status(&self.ops[gateway].to_string(), "/readyz").await;
        matches!(status, Ok(200))
    }

    /// Whether Redis answers, and not that it is still loading.
    pub(crate) async fn redis_answers(&self) -> bool {
        redis_answers(self.redis.address).await
    }

    /// Starts a Redis that is down, and waits until it answers.
    ///
    /// # Errors
    /// Where it does not.
    pub(crate) async fn restart_redis(&mut self) -> anyhow::Result<()> {
        self.redis.start()?;
        until("Redis answers", STARTING, async || {
            self.redis_answers().await
        })
        .await?;
        Ok(())
    }

    /// The same for MongoDB.
    ///
    /// # Errors
    /// Where it does not.
    pub(crate) async fn restart_mongo(&mut self) -> anyhow::Result<()> {
        self.mongo.start()?;
        until("MongoDB answers", STARTING, async || {
            mongo_answers(self.mongo.address).await
        })
        .await?;
        Ok(())
    }

    /// Says a command to the Redis server at `address`.
    ///
    /// # Errors
    /// Where that fails, or Redis says so.
    pub(crate) fn redis_cli(
        &self,
        address: SocketAddr,
        command: &[&str],
    ) -> anyhow::Result<String> {
        let port = address.port().to_string();
        let output = Command::new(&self.programs.redis_cli)
            .args(["-h", "127.0.0.1", "-p", &port, "-e"])
            .args(command)
            .stdin(Stdio::null())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("redis-cli {command:?}: {text} {}", error.trim());
        }
        Ok(text)
    }

    /// A proxy before the gateways that cuts connections that are idle for 60 s, not started. What begins with
    /// `/silent` it leads to `silent`.
    ///
    /// # Errors
    /// Where it is not installed, or can't be set up.
    pub(crate) fn front(&self, front: Front, silent: SocketAddr) -> anyhow::Result<Process> {
        let gateways: Vec<_> = self
            .gateways
            .iter()
            .map(|gateway| gateway.address)
            .collect();
        front.process(&self.programs, &self.directory, &gateways, silent)
    }

    /// The URI of the run's database.
    pub(crate) fn mongo_uri(&self) -> String {
        product::mongo_uri(self.mongo.address)
    }
}
