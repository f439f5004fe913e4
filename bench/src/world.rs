//! The processes of one run: Redis, a MongoDB server, gateways and workers, all private, on free ports.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use ticket_shared::lifecycle::Lifecycle;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    process::{Process, find, free_address},
    proxy::Proxy,
    rest,
    wait::until,
};

/// How long anything may take to start. Generous: machines differ.
const STARTING: Duration = Duration::from_mins(1);

/// The programs of a run.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    gateway: PathBuf,
    worker: PathBuf,
    redis: PathBuf,
    redis_cli: PathBuf,
    mongo: PathBuf,
    /// Shifts the clock of what it runs, where it is installed.
    pub faketime: Option<PathBuf>,
}

impl Programs {
    /// Finds them: the product's beside this program, the servers as `make run` does.
    ///
    /// # Errors
    /// Names what is missing.
    pub(crate) fn find(directory: &Path, local: &Path) -> anyhow::Result<Self> {
        let own = |name: &str| {
            let program = directory.join(name);
            if program.is_file() {
                return Ok(program);
            }
            bail!("{name} is not built; run: cargo build -p {name}")
        };
        let bin = local.join("bin");
        let server = |variable, names: &[&str], places: &[PathBuf]| {
            find(variable, names, places)
                .with_context(|| format!("none of {names:?} is on the PATH"))
        };
        let stand_in = [
            bin.join("secantusd-rs"),
            local.join("mongodb-stand-in/bin/secantusd-py"),
        ];
        Ok(Self {
            gateway: own("ticket-gateway")?,
            worker: own("ticket-worker")?,
            redis: server(
                "REDIS_BIN",
                &["redis-server", "valkey-server"],
                &[bin.join("redis-server")],
            )?,
            redis_cli: server("REDIS_CLI", &["redis-cli", "valkey-cli"], &[])?,
            mongo: server("MONGOD_BIN", &["mongod", "secantusd-rs"], &stand_in)?,
            faketime: find("FAKETIME_BIN", &["faketime"], &[]),
        })
    }

    /// What stands in for MongoDB, if something does.
    pub(crate) fn mongo_name(&self) -> String {
        self.mongo
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

/// How a run's processes are set up.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// How many workers.
    pub workers: usize,
    /// Whether the gateways reach Redis by a proxy each.
    pub gateway_proxies: bool,
    /// Whether workers reach Redis and MongoDB by a proxy each.
    pub worker_proxies: bool,
    /// More settings of the workers.
    pub worker_env: Vec<(&'static str, String)>,
    /// Start Redis and MongoDB only after the gateways and workers.
    pub servers_last: bool,
    /// Run the second gateway with its clock ahead by this (for `faketime -f`).
    pub clock: Option<&'static str>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            workers: 1,
            gateway_proxies: false,
            worker_proxies: false,
            worker_env: vec![("CLAIM_IDLE_MS", "3000".into())],
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
            ops: Vec::new(),
            directory: directory.to_owned(),
            programs: programs.clone(),
        };
        if !shape.servers_last {
            world.start_servers().await?;
        }
        for number in 0..2 {
            world.add_gateway(number, life, shape).await?;
        }
        if shape.worker_proxies {
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

    /// Another Redis server, not started.
    ///
    /// # Errors
    /// Where there is no port for it.
    pub(crate) fn another_redis(&self, name: &str) -> anyhow::Result<Process> {
        redis(&self.programs, &self.directory, name)
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
        if shape.gateway_proxies {
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
        let process = settings(process, redis, self.mongo.address)
            .env("AUTH_MODE", "none")
            .env("PORT", &address.port())
            .env("OPS_PORT", &ops.port())
            .env("DRAIN_MS", "2000");
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

fn redis(programs: &Programs, directory: &Path, name: &str) -> anyhow::Result<Process> {
    let address = free_address()?;
    let home = directory.join(name);
    std::fs::create_dir_all(&home)?;
    let port = address.port().to_string();
    let home = home.display().to_string();
    Ok(Process::new(name, &programs.redis, address, directory)
        .arg(["--port", &port, "--bind", "127.0.0.1", "--dir", &home])
        .arg([
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--save",
            "",
        ])
        .arg(["--maxmemory-policy", "noeviction", "--daemonize", "no"]))
}

fn mongo(programs: &Programs, directory: &Path) -> anyhow::Result<Process> {
    let address = free_address()?;
    let home = directory.join("mongodb");
    std::fs::create_dir_all(&home)?;
    let (port, home) = (address.port().to_string(), home.display().to_string());
    let process = Process::new("mongodb", &programs.mongo, address, directory);
    Ok(if programs.mongo_name().starts_with("mongod") {
        process.arg([
            "--dbpath",
            &home,
            "--port",
            &port,
            "--bind_ip",
            "127.0.0.1",
            "--nounixsocket",
        ])
    } else {
        process.arg(["--host", "127.0.0.1", "--port", &port]).arg([
            "--storage-path",
            &home,
            "--cache-size",
            "256M",
        ])
    })
}

/// Whether the Redis server at `address` answers, and not that it is still loading.
pub(crate) async fn redis_answers(address: SocketAddr) -> bool {
    let answer = ask(address, b"PING\r\n").await;
    answer.is_ok_and(|answer| answer.starts_with(b"+PONG"))
}

/// Whether the MongoDB server answers `{ping: 1, $db: "admin"}`, in `OP_MSG`.
async fn mongo_answers(address: SocketAddr) -> bool {
    let mut fields = Vec::from(*b"\x10ping\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0");
    let mut message = Vec::new();
    let length = i32::try_from(fields.len() + 4).unwrap_or(0);
    for number in [length + 16 + 5, 1, 0, 2013, 0] {
        message.extend(i32::to_le_bytes(number));
    }
    message.push(0);
    message.extend(length.to_le_bytes());
    message.append(&mut fields);
    let answer = ask(address, &message).await;
    answer.is_ok_and(|answer| answer.windows(3).any(|part| part == b"ok\0"))
}

async fn ask(address: SocketAddr, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request).await?;
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await?;
        answer.truncate(read);
        Ok::<_, std::io::Error>(answer)
    };
    Ok(timeout(Duration::from_secs(1), asked).await??)
}
