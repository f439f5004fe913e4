//! How a run's processes are set up.

use std::path::PathBuf;

/// Who may reach the servers by proxies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// The gateways reach Redis by one each.
    Gateways,
    /// The workers reach Redis by one, and MongoDB by one.
    Workers,
}

/// Kinds of Redis deployment besides a single server.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Managed {
    /// One server, perhaps with a replica that follows it by a way of its own.
    #[default]
    No,
    /// A primary with two replicas, and a Sentinel that watches over them.
    Sentinel,
    /// A primary with a replica in cluster mode: one shard with all slots, for URLs of this scheme.
    Shard(&'static str),
}

/// The Node.js server that is measured instead of the gateways.
#[derive(Clone, Debug)]
pub(crate) struct Baseline {
    /// Its `server.js`.
    pub script: PathBuf,
    /// Broadcast before saving.
    pub best_case: bool,
}

/// How a run's processes are set up.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "ways to set a run up, of which any may go together"
)]
pub(crate) struct Shape {
    /// How many gateways.
    pub gateways: usize,
    /// What to run instead of them, if not them.
    pub baseline: Option<Baseline>,
    /// How many workers.
    pub workers: usize,
    /// Who reaches the servers by proxies.
    pub proxied: Vec<Part>,
    /// More settings of the gateways.
    pub gateway_env: Vec<(&'static str, String)>,
    /// More settings of the workers.
    pub worker_env: Vec<(&'static str, String)>,
    /// Let a MongoDB stand-in sync each commit, as it must where it is killed.
    pub synced: bool,
    /// Let MongoDB fail commands when it is told to.
    pub failpoints: bool,
    /// Give Redis a replica.
    pub replica: bool,
    /// The kind of Redis deployment.
    pub managed: Managed,
    /// Lead the workers and gateways to MongoDB by a proxy that can refuse single commands.
    pub refusing_mongo: bool,
    /// Start Redis and MongoDB only after the gateways and workers.
    pub servers_last: bool,
    /// Put Redis' files on a disk of a few megabytes.
    pub small_disk: bool,
    /// Run the second gateway with its clock ahead by this (in the words of `faketime`).
    pub clock: Option<&'static str>,
    /// Let the first gateway open no more files than this.
    pub descriptors: Option<u32>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            gateways: 2,
            baseline: None,
            workers: 1,
            proxied: Vec::new(),
            gateway_env: Vec::new(),
            worker_env: vec![("CLAIM_IDLE_MS", "3000".into())],
            synced: true,
            failpoints: false,
            replica: false,
            managed: Managed::No,
            refusing_mongo: false,
            servers_last: false,
            small_disk: false,
            clock: None,
            descriptors: None,
        }
    }
}
