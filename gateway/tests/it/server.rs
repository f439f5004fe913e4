//! A Redis server of a test's own, to be killed and frozen.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use ticket_shared::{config::Secret, id::Id};

/// A name that no other test uses.
pub(crate) fn unique(name: &str) -> String {
    format!("test-{name}-{}", Id::fresh().unwrap())
}

/// A server that may or may not run.
pub(crate) struct Server {
    port: u16,
    directory: PathBuf,
    process: Option<Child>,
}

impl Server {
    /// A server that does not run yet, on a free port.
    pub(crate) fn absent() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let directory = std::env::temp_dir().join(unique("redis"));
        std::fs::create_dir_all(&directory).unwrap();
        Self {
            port: port.unwrap().port(),
            directory,
            process: None,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> Secret {
        Secret::new(format!("redis://127.0.0.1:{}", self.port))
    }

    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// With an append-only file.
    pub(crate) fn start_kept(&mut self) {
        self.start_with(&["--appendonly", "yes"]);
    }

    /// The append-only file, and how long it is.
    pub(crate) fn file(&self) -> (PathBuf, u64) {
        let files = std::fs::read_dir(self.directory.join("appendonlydir")).unwrap();
        let mut files: Vec<PathBuf> = files
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
            .collect();
        files.sort();
        let newest = files.pop().unwrap();
        let length = std::fs::metadata(&newest).unwrap().len();
        (newest, length)
    }

    /// Starts it with more settings.
    pub(crate) fn start_with(&mut self, more: &[&str]) {
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--port"])
            .arg(self.port.to_string())
            .args(more)
            .current_dir(&self.directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be on the PATH");
        self.process = Some(process);
    }

    /// Starts it as a Sentinel with this configuration, which it writes to by itself.
    pub(crate) fn start_sentinel(&mut self, configuration: &str) {
        let file = self.directory.join("sentinel.conf");
        std::fs::write(&file, configuration).unwrap();
        let process = Command::new("redis-server")
            .arg(file)
            .args(["--sentinel", "--bind", "127.0.0.1", "--port"])
            .arg(self.port.to_string())
            .current_dir(&self.directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be on the PATH");
        self.process = Some(process);
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // A directory that stays behind harms nobody.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
