//! The servers of a run: where their programs are, how they are started, whether they answer.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{front, shape::Shape};
use crate::process::{Process, find, free_address};

/// The programs of a run.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(super) gateway: PathBuf,
    pub(super) worker: PathBuf,
    pub(super) redis: PathBuf,
    pub(super) redis_cli: PathBuf,
    mongo: PathBuf,
    /// The library that shifts the clock of what loads it, where it is installed.
    pub faketime: Option<PathBuf>,
    /// Proxies, where they are installed.
    pub(super) nginx: Option<PathBuf>,
    pub(super) haproxy: Option<PathBuf>,
    /// Where libraries are that the proxies may need.
    pub(super) libraries: String,
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
        let proxies = local.join("proxies");
        let proxy = |variable, name| find(variable, &[name], &front::places(&proxies, name));
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
            faketime: find("FAKETIME_LIB", &[], &clock_libraries()),
            nginx: proxy("NGINX_BIN", "nginx"),
            haproxy: proxy("HAPROXY_BIN", "haproxy"),
            libraries: front::libraries(&proxies),
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

/// Where systems keep the library of `faketime`.
fn clock_libraries() -> Vec<PathBuf> {
    let places = std::fs::read_dir("/usr/lib").into_iter().flatten();
    places
        .filter_map(|place| Some(place.ok()?.path().join("faketime/libfaketimeMT.so.1")))
        .collect()
}

/// A Redis server with an append-only file, not started.
///
/// # Errors
/// Where there is no port or directory for it.
pub(super) fn redis(programs: &Programs, directory: &Path, name: &str) -> anyhow::Result<Process> {
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

/// A MongoDB server, not started.
///
/// # Errors
/// As [`redis`].
pub(super) fn mongo(
    programs: &Programs,
    directory: &Path,
    shape: &Shape,
) -> anyhow::Result<Process> {
    let address = free_address()?;
    let home = directory.join("mongodb");
    std::fs::create_dir_all(&home)?;
    let (port, home) = (address.port().to_string(), home.display().to_string());
    let process = Process::new("mongodb", &programs.mongo, address, directory);
    Ok(if programs.mongo_name().starts_with("mongod") {
        process
            .arg([
                "--dbpath",
                &home,
                "--port",
                &port,
                "--bind_ip",
                "127.0.0.1",
                "--nounixsocket",
            ])
            .arg(
                shape
                    .failpoints
                    .then_some(["--setParameter", "enableTestCommands=1"])
                    .into_iter()
                    .flatten(),
            )
    } else {
        // Without the last one the stand-in confirms `j: true` before its log is written: a kill would lose
        // writes that are confirmed.
        let help = Command::new(&programs.mongo).arg("--help").output();
        let sync = "--sync-on-commit";
        let syncs = shape.synced
            && help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains(sync));
        process
            .arg(["--host", "127.0.0.1", "--port", &port])
            .arg(["--storage-path", &home, "--cache-size", "256M"])
            .arg(syncs.then_some(sync))
            .arg(shape.failpoints.then_some("--enable-test-commands"))
    })
}

/// Whether the Redis server at `address` answers, and not that it is still loading.
pub(crate) async fn redis_answers(address: SocketAddr) -> bool {
    let answer = ask(address, b"PING\r\n").await;
    answer.is_ok_and(|answer| answer.starts_with(b"+PONG"))
}

/// Whether the MongoDB server answers `{ping: 1, $db: "admin"}`, in `OP_MSG`.
pub(super) async fn mongo_answers(address: SocketAddr) -> bool {
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
