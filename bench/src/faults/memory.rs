//! Redis near its `maxmemory`: full of tickets at rest, and full of other people's keys.

use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt, stream};
use mongodb::bson::{Document, doc};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{
    Told, outage,
    redis::{refusing, set},
    under, usual,
};
use crate::{
    readback,
    report::Row,
    rest,
    run::{Context, Run},
    wait::until,
    world::{Shape, World},
};

/// The rate of the promise: 100,000 tickets in ten minutes.
const RATE: u32 = 170;
/// The tickets of the promise, in 64 MB.
const PROMISED: u32 = 100_000;
/// Requests at a time.
const LANES: usize = 16;
/// The subject by which the tickets at rest are told from those of the load.
const SUBJECT: &str = "At rest";

pub(super) async fn at_rest(context: Context) -> anyhow::Result<Row> {
    let tickets = if context.short {
        5_000
    } else {
        context.at_rest
    };
    let memory = if tickets < PROMISED { "32mb" } else { "64mb" };
    under(&context, "F41", Shape::default(), usual(), async |run| {
        set(&run.world, "maxmemory", memory)?;
        let refused = open(run, tickets).await;
        run.check(
            refused.is_empty(),
            format!(
                "{} tickets were refused: {:?}",
                refused.len(),
                refused.first()
            ),
        );
        let evicted = sum(&run.world, "ticket_gateway_tickets_evicted_total").await;
        run.check(evicted > 0.0, "no ticket was evicted");
        let database = readback::open(&run.world.mongo_uri()).await?;
        let stored = database.collection::<Document>("tickets");
        let taken = u64::from(tickets) - refused.len() as u64;
        let all = async || {
            let count = stored.count_documents(doc! { "subject": SUBJECT }).await;
            count.unwrap_or(0) >= taken
        };
        until("all of them are in MongoDB", Duration::from_mins(2), all).await?;
        // The judge knows those of the load alone.
        stored.delete_many(doc! { "subject": SUBJECT }).await?;
        run.acks(400).await?;
        // A batch that was stored again meanwhile.
        stored.delete_many(doc! { "subject": SUBJECT }).await?;
        Ok(Told::new(format!(
            "{tickets} tickets opened at {RATE} a second with `maxmemory {memory}`"
        ))
        .figure(format!("{evicted} evicted, {} refused", refused.len())))
    })
    .await
}

/// Opens so many tickets, spread over the gateways. Returns why some were not.
async fn open(run: &Run, tickets: u32) -> Vec<String> {
    let gateways = &run.world.gateways;
    let began = Instant::now();
    let opened = stream::iter(0..tickets).map(|number| async move {
        sleep_until(began + Duration::from_secs(1) * number / RATE).await;
        let gateway = gateways[number as usize % gateways.len()]
            .address
            .to_string();
        let body = json!({
            "subject": SUBJECT, "userId": format!("u{number}"), "userName": "U",
            "description": "x".repeat(500),
        });
        rest::post(&gateway, "/tickets", &body).await.err()
    });
    let errors = opened
        .buffer_unordered(LANES)
        .filter_map(async |error| error);
    errors.map(|error| error.to_string()).collect().await
}

pub(super) async fn others(context: Context) -> anyhow::Result<Row> {
    let long = outage(&context, 8, 5);
    under(&context, "F41o", Shape::default(), usual(), async |run| {
        let took = refusing(
            run,
            long,
            async |world| {
                fill(world).context("filling Redis")?;
                let refuses = async || {
                    let name = "ticket_gateway_limit_exceeded{limit=\"memory\"}";
                    sum(world, name).await >= 2.0
                };
                until(
                    "both gateways refuse for memory",
                    Duration::from_secs(20),
                    refuses,
                )
                .await
                .map(drop)
            },
            async |world| {
                let emptied = "for i = 1, 45000 do redis.call('DEL', 'other:' .. i) end";
                world
                    .redis_cli(world.redis.address, &["eval", emptied, "0"])
                    .map(drop)
            },
        )
        .await?;
        let name = "ticket_gateway_changes_refused_total{limit=";
        let memory = sum(&run.world, &format!("{name}\"memory\"}}")).await;
        let backlog = sum(&run.world, &format!("{name}\"backlog\"}}")).await;
        run.check(memory > 0.0, "nothing was refused for memory");
        run.check(backlog == 0.0, format!("{backlog} refused for the backlog"));
        Ok(Told::new(format!(
            "Redis full of other people's keys for {} s",
            long.as_secs()
        ))
        .figure(format!(
            "{memory} refused for memory, {backlog} for the backlog"
        ))
        .figure(format!("messages taken again after {took} ms")))
    })
    .await
}

/// Puts some 50 MB of keys of nobody here into Redis, and lets it use hardly more than that.
fn fill(world: &World) -> anyhow::Result<()> {
    let filled = "for i = 1, 45000 do redis.call('SET', 'other:' .. i, string.rep('x', 1000)) end";
    world.redis_cli(world.redis.address, &["eval", filled, "0"])?;
    let memory = world.redis_cli(world.redis.address, &["info", "memory"])?;
    let used = memory
        .lines()
        .find_map(|line| line.strip_prefix("used_memory_dataset:"));
    let used: u64 = used.context("no figure of memory")?.trim().parse()?;
    set(world, "maxmemory", &(used * 100 / 92).to_string())
}

/// The sum of a metric over all gateways.
async fn sum(world: &World, name: &str) -> f64 {
    let mut sum = 0.0;
    for ops in &world.ops {
        // One that was never counted has no line.
        sum += rest::metric(&ops.to_string(), name).await.unwrap_or(0.0);
    }
    sum
}
