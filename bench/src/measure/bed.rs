//! Where one scenario runs once: fresh processes of one side, tickets, and what the processes have cost.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::{
    Database,
    bson::{Document, doc},
};
use serde_json::json;
use ticket_shared::lifecycle::Lifecycle;

use super::{
    cost::{Costs, usage},
    message::joining,
    wire::Wire,
};
use crate::{
    readback, rest,
    wait::until,
    world::{Baseline, PARTITIONS, PREFIX, Programs, Shape, World},
};

/// How long storing what is behind may take.
const STORING: Duration = Duration::from_mins(5);
/// How many requests or connections are begun at once.
pub(crate) const LANES: usize = 64;
/// What counts as a server.
pub(crate) const SERVERS: &[&str] = &["gateway", "worker", "node", "redis", "mongodb"];

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Side {
    /// The product: gateways and a worker.
    Product,
    /// Two Node.js processes.
    Node,
    /// One Node.js process, which needs no Redis.
    NodeAlone,
    /// Two that broadcast before they save.
    NodeBest,
}

impl Side {
    /// Its name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Node => "Node, 2 processes",
            Self::NodeAlone => "Node, 1 process",
            Self::NodeBest => "Node, 2 processes, broadcast before saving",
        }
    }
}

/// What every scenario needs.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Owns the tasks.
    pub life: Lifecycle,
    /// The programs.
    pub programs: Programs,
    /// Where runs have their directories.
    pub directory: PathBuf,
    /// The `server.js` of the baseline.
    pub script: PathBuf,
    /// Shorter and smaller.
    pub quick: bool,
}

impl Context {
    /// One of two figures.
    pub(crate) fn pick<T>(&self, whole: T, quick: T) -> T {
        if self.quick { quick } else { whole }
    }
}

/// Processes and tickets.
#[derive(Debug)]
pub(crate) struct Bed {
    /// The processes.
    pub world: World,
    /// How they were set up.
    pub shape: Shape,
    /// Where clients connect.
    pub gateways: Vec<SocketAddr>,
    /// The tickets.
    pub tickets: Vec<String>,
}

impl Bed {
    /// Starts `gateways` processes of a side, and `workers` where the side has them, and opens tickets.
    ///
    /// # Errors
    /// Where something does not start.
    pub(crate) async fn start(
        context: &Context,
        side: Side,
        gateways: usize,
        workers: usize,
        tickets: usize,
    ) -> anyhow::Result<Self> {
        let shape = shape(context, side, gateways, workers);
        Self::shaped(context, shape, tickets).await
    }

    /// The same, with two gateways whose limits are these, over those of all scenarios: none.
    ///
    /// # Errors
    /// As [`Bed::start`].
    pub(crate) async fn limited(
        context: &Context,
        side: Side,
        limits: &[(&'static str, &str)],
        tickets: usize,
    ) -> anyhow::Result<Self> {
        let mut shape = shape(context, side, 2, 1);
        for (name, limit) in limits {
            shape.gateway_env.push((*name, (*limit).to_owned()));
        }
        Self::shaped(context, shape, tickets).await
    }

    async fn shaped(context: &Context, shape: Shape, tickets: usize) -> anyhow::Result<Self> {
        if context.directory.exists() {
            std::fs::remove_dir_all(&context.directory)?;
        }
        let world =
            World::start(&context.programs, &context.directory, &context.life, &shape).await?;
        let gateways: Vec<SocketAddr> = world.gateways.iter().map(|one| one.address).collect();
        let opened = stream::iter(0..tickets).map(|number| {
            let gateway = gateways[number % gateways.len()].to_string();
            async move {
                let body =
                    json!({"subject": format!("Ticket {number}"), "userId": "u", "userName": "U"});
                let answer = rest::post(&gateway, "/tickets", &body).await?;
                let id = answer["ticket"]["_id"].as_str().map(str::to_owned);
                id.context("a ticket without an id")
            }
        });
        let tickets = opened.buffered(LANES).try_collect().await?;
        Ok(Self {
            world,
            shape,
            gateways,
            tickets,
        })
    }

    /// Lets so many people into each ticket; the first of a ticket are those of the lowest numbers, and
    /// neighbours are at different gateways.
    ///
    /// # Errors
    /// Where one is not let in.
    pub(crate) async fn join(&self, people: usize) -> anyhow::Result<Vec<Wire>> {
        let wires = self.connect(people * self.tickets.len()).await?;
        enter(&self.tickets, people, wires).await
    }

    /// Connects so many people, at each gateway the same number.
    ///
    /// # Errors
    /// Where one is not let in.
    pub(crate) async fn connect(&self, people: usize) -> anyhow::Result<Vec<Wire>> {
        let gateway = |person| self.gateways[person % self.gateways.len()];
        let wires = stream::iter(0..people).map(|person| Wire::connect(gateway(person)));
        let wires: Result<_, _> = wires.buffered(LANES).try_collect().await;
        wires.context("a client can't connect")
    }

    /// What all processes have cost so far, this one under `load`.
    ///
    /// # Errors
    /// Where one is gone.
    pub(crate) fn costs(&self) -> anyhow::Result<Costs> {
        let world = &self.world;
        let servers = [&world.redis, &world.mongo];
        let all = servers
            .into_iter()
            .chain(&world.gateways)
            .chain(&world.workers);
        let mut costs = Costs::new();
        for process in all {
            let Some(id) = process.id() else {
                bail!("{} does not run", process.name)
            };
            costs.insert(process.name.clone(), usage(&id.to_string())?);
        }
        costs.insert("load".into(), usage("self")?);
        Ok(costs)
    }

    /// Waits until the worker has stored everything. The baseline has, when it acknowledges.
    ///
    /// # Errors
    /// Where that takes too long.
    pub(crate) async fn settled(&self) -> anyhow::Result<Duration> {
        if self.shape.baseline.is_some() {
            return Ok(Duration::ZERO);
        }
        until("everything is stored", STORING, async || {
            self.behind().is_ok_and(|tickets| tickets == 0)
        })
        .await
    }

    /// How many tickets have something that is not stored.
    fn behind(&self) -> anyhow::Result<u64> {
        const SUM: &str =
            "local n = 0 for _, k in ipairs(KEYS) do n = n + redis.call('ZCARD', k) end return n";
        let keys: Vec<String> = (0..PARTITIONS)
            .map(|partition| format!("{PREFIX}:{{{partition}}}:dirty"))
            .collect();
        let number = keys.len().to_string();
        let mut command = vec!["EVAL", SUM, &number];
        command.extend(keys.iter().map(String::as_str));
        Ok(self
            .world
            .redis_cli(self.world.redis.address, &command)?
            .parse()?)
    }

    /// How many messages MongoDB holds.
    ///
    /// # Errors
    /// Where it can't be asked.
    pub(crate) async fn stored(&self) -> anyhow::Result<u64> {
        let database = readback::open(&self.world.mongo_uri()).await?;
        let messages = database.collection::<Document>("messages");
        Ok(messages.count_documents(doc! {}).await?)
    }

    /// How many reads MongoDB has answered; none where it does not count a read that is made here.
    pub(crate) async fn reads(&self) -> Option<i64> {
        let database = readback::open(&self.world.mongo_uri()).await.ok()?;
        let before = reads(&database).await?;
        let tickets = database.collection::<Document>("tickets");
        tickets.find_one(doc! {}).await.ok()?;
        let after = reads(&database).await?;
        (after > before).then_some(after)
    }
}

async fn reads(database: &Database) -> Option<i64> {
    let admin = database.client().database("admin");
    let status = admin.run_command(doc! {"serverStatus": 1}).await.ok()?;
    let count = status.get_document("opcounters").ok()?.get("query")?;
    count.as_i64().or_else(|| count.as_i32().map(i64::from))
}

/// Lets connected people into tickets, so many into each.
///
/// # Errors
/// Where one is not let in.
pub(crate) async fn enter(
    tickets: &[String],
    people: usize,
    wires: Vec<Wire>,
) -> anyhow::Result<Vec<Wire>> {
    let joined = (0..).zip(wires).map(|(person, mut wire): (u32, Wire)| {
        let ticket = &tickets[person as usize / people];
        async move {
            let answer = wire.ask(1, "join_ticket", &joining(ticket, person)).await?;
            let ok = answer.windows(9).any(|part| part == b"\"ok\":true");
            ensure!(ok, "join refused: {}", String::from_utf8_lossy(&answer));
            Ok(wire)
        }
    });
    stream::iter(joined).buffered(LANES).try_collect().await
}

fn shape(context: &Context, side: Side, gateways: usize, workers: usize) -> Shape {
    let baseline = (side != Side::Product).then(|| Baseline {
        script: context.script.clone(),
        best_case: side == Side::NodeBest,
    });
    let limits = [
        "EVENT_RATE",
        "IDENTITY_RATE",
        "ADDRESS_RATE",
        "CONNECT_RATE",
        "CONNECT_RATE_ADDRESS",
        "MAX_CONNECTIONS",
        "MAX_CONNECTIONS_ADDRESS",
    ];
    let mut gateway_env: Vec<_> = limits.map(|name| (name, "0".to_owned())).into();
    gateway_env.push(("DURABILITY", "stream".into()));
    // Several processes share the CPUs, as those of Node.js do, which have one thread each.
    let threads = ("THREADS", "1".to_owned());
    gateway_env.push(threads.clone());
    Shape {
        gateways: if side == Side::NodeAlone { 1 } else { gateways },
        workers: if baseline.is_some() { 0 } else { workers },
        baseline,
        gateway_env,
        // The default: the fault runs set less.
        worker_env: vec![("BLOCK_MS", "1000".into()), threads],
        // MongoDB itself syncs many commits at once; a sync for each would slow the baseline down.
        synced: false,
        ..Shape::default()
    }
}
