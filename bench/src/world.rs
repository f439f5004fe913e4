//! The processes of one run: Redis, a MongoDB server, gateways and workers, all private, on free ports.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::bail;
use ticket_shared::lifecycle::Lifecycle;

use crate::{
    process::{Process, free_address},
    proxy::Proxy,
    rest,
    wait::until,
};

mod servers;

pub(crate) use servers::Programs;
use servers::{mongo, mongo_answers, redis, redis_answers};

/// How long anything may take to start. Generous: machines differ.
const STARTING: Duration = Duration::from_mins(1);

/// Who may reach the servers by proxies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// The gateways reach Redis by one each.
    Gateways,
    /// The workers reach Redis by one, and MongoDB by one.
    Workers,
}

/// How a run's processes are set up.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// How many workers.
    pub workers: usize,
    /// Who reaches the servers by proxies.
    pub proxied: Vec<Part>,
    /// More settings of the gateways.
    pub gateway_env: Vec<(&'static str, String)>,
    /// More settings of the workers.
    pub worker_env: Vec<(&'static str, String)>,
    /// Give Redis a replica.
    pub replica: bool,
    /// Start Redis and MongoDB only after the gateways and workers.
    pub servers_last: bool,
    /// Run the second gateway with its clock ahead by this (for `faketime -f`).
    pub clock: Option<&'static str>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            workers: 1,
            proxied: Vec::new(),
            gateway_env: Vec::new(),
            worker_env: vec![("CLAIM_IDLE_MS", "3000".into())],
            replica: false,
            servers_last: false,
            clock: None,
        }
    }
}

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
    /// Where the gateways answer operators.
    pub ops: Vec<SocketAddr>,
    /// The run's own directory.
    pub directory: PathBuf,
    programs: Programs,
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
        let redis = redis(programs, directory, "redis")?;
        let mongo = mongo(programs, directory)?;
        let mut world = Self {
            redis,
            mongo,
            gateways: Vec::new(),
            workers: Vec::new(),
            gateway_redis: Vec::new(),
            worker_redis: None,
            worker_mongo: None,
            replica: None,
            ops: Vec::new(),
            directory: directory.to_owned(),
            programs: programs.clone(),
        };
        if !shape.servers_last {
            world.start_servers().await?;
        }
        if shape.replica {
            world.add_replica(life).await?;
        }
        for number in 0..2 {
            world.add_gateway(number, life, shape).await?;
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

    async fn add_replica(&mut self, life: &Lifecycle) -> anyhow::Result<()> {
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

    /// The URI of the run's database.
    pub(crate) fn mongo_uri(&self) -> String {
        mongo_uri(self.mongo.address)
    }

    async fn add_gateway(
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
        let process = match late {
            Some((clock, faketime)) => {
                let gateway = self.programs.gateway.display().to_string();
                Process::new(&name, faketime, address, &self.directory).arg(["-f", clock, &gateway])
            }
            None => Process::new(&name, &self.programs.gateway, address, &self.directory),
        };
        let mut process = settings(process, redis, self.mongo.address)
            .env("AUTH_MODE", "none")
            .env("PORT", &address.port())
            .env("OPS_PORT", &ops.port())
            .env("DRAIN_MS", "2000");
        for (setting, value) in &shape.gateway_env {
            process = process.env(setting, value);
        }
        self.gateways.push(process);
        self.ops.push(ops);
        self.gateways[number].start()
    }

    fn add_worker(&mut self, number: usize, shape: &Shape) -> anyhow::Result<()> {
        let ops = free_address()?;
        let way =
            |proxy: &Option<Proxy>, server| proxy.as_ref().map_or(server, |proxy| proxy.address);
        let redis = way(&self.worker_redis, self.redis.address);
        let mongo = way(&self.worker_mongo, self.mongo.address);
        let name = format!("worker-{number}");
        let process = Process::new(&name, &self.programs.worker, ops, &self.directory);
        let mut process = settings(process, redis, mongo)
            .env("CONSUMER", &name)
            .env("OPS_PORT", &ops.port())
            .env("BLOCK_MS", "200");
        for (setting, value) in &shape.worker_env {
            process = process.env(setting, value);
        }
        self.workers.push(process);
        self.workers[number].start()
    }
}

/// The settings that gateways and workers share.
fn settings(process: Process, redis: SocketAddr, mongo: SocketAddr) -> Process {
    process
        .env("REDIS_URL", &format!("redis://{redis}"))
        .env("MONGO_URI", &mongo_uri(mongo))
        .env("KEY_PREFIX", PREFIX)
        .env("PARTITIONS", &PARTITIONS)
        .env("HOST", "127.0.0.1")
        .env("LOG", "info")
        .env("LOG_FORMAT", "json")
}

fn mongo_uri(address: SocketAddr) -> String {
    format!("mongodb://{address}/{DATABASE}")
}
