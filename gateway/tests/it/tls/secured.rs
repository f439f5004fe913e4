//! Servers that want TLS and a password, and one process that has to get along with them.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ticket_shared::{id::Id, lifecycle::Lifecycle};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// How long a condition may take to come true.
const DEADLINE: Duration = Duration::from_mins(1);
/// The password of Redis; found nowhere but in URLs.
pub(crate) const PASSWORD: &str = "canary-redis-password";

/// Redis and MongoDB behind TLS, with certificates of an authority that no system knows.
pub(crate) struct Secured {
    directory: PathBuf,
    pub(crate) redis_port: u16,
    redis: Child,
    mongo_port: u16,
    mongo_uri: String,
    name: String,
    _life: Lifecycle,
}

impl Secured {
    /// Starts a Redis of its own, and a TLS server before the MongoDB of `MONGO_URI`.
    pub(crate) async fn start() -> Self {
        let name = format!("test-tls-{}", Id::fresh().unwrap());
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir_all(&directory).unwrap();
        certify(&directory, "ca");
        // An authority that signed nothing here.
        certify(&directory.join("stranger"), "ca");
        let users = format!("user default off\nuser tickets on >{PASSWORD} ~* &* +@all\n");
        fs::write(directory.join("users.acl"), users).unwrap();
        let redis_port = free_port();
        let redis = Command::new("redis-server")
            .args(["--port", "0", "--tls-port", &redis_port.to_string()])
            .args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--tls-auth-clients",
                "no",
            ])
            .args([
                "--tls-cert-file",
                "server.pem",
                "--tls-key-file",
                "server.key",
            ])
            .args(["--tls-ca-cert-file", "ca.pem", "--aclfile", "users.acl"])
            .current_dir(&directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be on the PATH");
        let mongo_uri = std::env::var("MONGO_URI").expect("MONGO_URI must be set");
        let life = Lifecycle::default();
        let mongo_port = terminate(&directory, &mongo_uri, &life).await;
        Self {
            directory,
            redis_port,
            redis,
            mongo_port,
            mongo_uri,
            name,
            _life: life,
        }
    }

    /// The path of a file of certificates: of the authority, or of the stranger.
    pub(crate) fn authority(&self, whose: &str) -> String {
        let path = self.directory.join(whose).join("ca.pem");
        path.to_str().unwrap().to_owned()
    }

    /// The URL of Redis.
    pub(crate) fn redis_url(&self, password: &str) -> String {
        format!("rediss://tickets:{password}@localhost:{}", self.redis_port)
    }

    /// The URI of MongoDB that trusts this authority.
    pub(crate) fn mongo_uri(&self, whose: &str) -> String {
        let options = self.mongo_uri.split_once('?');
        let options = options.map_or(String::new(), |(_, options)| format!("&{options}"));
        format!(
            "mongodb://localhost:{}/{}?directConnection=true&tls=true&tlsCAFile={}{options}",
            self.mongo_port,
            self.name,
            self.authority(whose)
        )
    }

    /// Starts a process with these settings.
    pub(crate) fn run(&self, program: &str, settings: &[(&str, &str)]) -> Running {
        let ops = free_port();
        let log = self.directory.join(format!("{ops}.log"));
        let child = Command::new(program)
            .env_clear()
            .env("KEY_PREFIX", &self.name)
            .env("HOST", "127.0.0.1")
            .env("OPS_PORT", ops.to_string())
            .env("LOG", "trace")
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Running { ops, child, log }
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        end(&mut self.redis);
        // A directory that stays behind harms nobody.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A process under test.
pub(crate) struct Running {
    ops: u16,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// What it said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Whether it has not ended.
    pub(crate) fn alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until `/readyz` answers with this status, whatever it says.
    pub(crate) async fn answers(&mut self, status: u16) {
        let start = format!("HTTP/1.1 {status}");
        let end = Instant::now() + DEADLINE;
        loop {
            let answer = get(self.ops, "/readyz").await.unwrap_or_default();
            if answer.starts_with(&start) {
                return;
            }
            assert!(self.alive(), "it ended: {}", self.said());
            assert!(
                Instant::now() < end,
                "{answer:?} instead of {status}: {}",
                self.said()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until it has said this.
    pub(crate) async fn says(&mut self, what: &str) {
        let end = Instant::now() + DEADLINE;
        while !self.said().contains(what) {
            assert!(self.alive(), "it ended: {}", self.said());
            assert!(Instant::now() < end, "not said: {what}: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// A port that nothing listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Makes an authority, and a certificate of it for this host.
fn certify(directory: &std::path::Path, authority: &str) {
    fs::create_dir_all(directory).unwrap();
    let mut of_authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(of_authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let server = CertificateParams::new(names).unwrap();
    let server = server.signed_by(&key, &issuer).unwrap();
    for (file, text) in [
        (format!("{authority}.pem"), issuer.pem()),
        ("server.pem".to_owned(), server.pem()),
        ("server.key".to_owned(), key.serialize_pem()),
    ] {
        fs::write(directory.join(file), text).unwrap();
    }
}

/// Listens with TLS, and leads to the server in `uri` without.
async fn terminate(directory: &std::path::Path, uri: &str, life: &Lifecycle) -> u16 {
    let certificate = CertificateDer::from_pem_file(directory.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(directory.join("server.key")).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let rest = uri.split_once("://").unwrap().1;
    let target = rest[..rest.find(['/', '?']).unwrap_or(rest.len())].to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tasks = life.clone();
    life.spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, target) = (acceptor.clone(), target.clone());
            tasks.spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else {
                    return;
                };
                let mut server = TcpStream::connect(target).await.unwrap();
                // Either end may go at any time.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    port
}

/// What a server on this host answers, head and body.
pub(crate) async fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
