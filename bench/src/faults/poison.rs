//! Entries that no worker can store.

use std::time::Duration;

use anyhow::Context as _;
use ticket_shared::{id::Id, stream::Keys};

use super::{Told, under, usual};
use crate::{
    report::Row,
    run::{Context, Run},
    wait::until,
    world::{PARTITIONS, PREFIX, Shape, World},
};

fn keys() -> Keys {
    Keys::new(PREFIX, PARTITIONS)
}

/// How many entries are parked.
fn parked(world: &World) -> usize {
    let length = |partition| {
        let length = world.redis_cli(world.redis.address, &["xlen", &keys().dead(partition)]);
        length
            .ok()
            .and_then(|length| length.parse::<usize>().ok())
            .unwrap_or(0)
    };
    (0..PARTITIONS).map(length).sum()
}

/// Puts an entry like those of the product into the stream of each of the first tickets.
fn put(
    world: &World,
    tickets: &[Id],
    field: &str,
    value: impl Fn(Id) -> String,
) -> anyhow::Result<usize> {
    for ticket in tickets {
        let stream = keys().events(keys().partition(*ticket));
        world.redis_cli(
            world.redis.address,
            &["xadd", &stream, "*", field, &value(*ticket)],
        )?;
    }
    Ok(tickets.len())
}

/// Waits until so many entries are parked, while what comes after them is stored.
async fn park(run: &mut Run, entries: usize) -> anyhow::Result<(u32, Duration)> {
    let mark = run.mark();
    let world = &run.world;
    let all = until(
        "the entries are parked",
        Duration::from_mins(1),
        async || parked(world) >= entries,
    )
    .await;
    run.note(all);
    let took = run.mark() - mark;
    let more = parked(&run.world);
    run.check(
        more == entries,
        format!("{more} entries parked instead of {entries}"),
    );
    let owed = run.load.acked();
    let behind = run.persists(owed, Duration::from_secs(30)).await;
    Ok((took, run.note(behind).unwrap_or_default()))
}

pub(super) async fn undecodable(context: Context) -> anyhow::Result<Row> {
    under(&context, "F16", Shape::default(), usual(), async |run| {
        let first = run.tickets.get(..4).context("four tickets")?.to_vec();
        let mut entries = put(&run.world, &first, "d", |_| "no entry at all".into())?;
        entries += put(&run.world, &first, "other", |_| "x".into())?;
        let (took, behind) = park(run, entries).await?;
        run.acks(400).await?;
        Ok(Told::new(format!(
            "{entries} entries that are none put into the streams"
        ))
        .figure(format!("all parked after {took} ms"))
        .figure(format!(
            "what was sent until then stored {} ms later",
            behind.as_millis()
        )))
    })
    .await
}

pub(super) async fn newer(context: Context) -> anyhow::Result<Row> {
    under(&context, "F17", Shape::default(), usual(), async |run| {
        let first = run.tickets.get(..4).context("four tickets")?.to_vec();
        let entry = |ticket: Id| format!(r#"{{"v":2,"t":"{ticket}","s":1,"new":{{"a":[1]}}}}"#);
        let entries = put(&run.world, &first, "d", entry)?;
        let (took, behind) = park(run, entries).await?;
        run.acks(400).await?;
        Ok(Told::new(format!(
            "{entries} entries of a newer format put into the streams"
        ))
        .figure(format!("all parked after {took} ms"))
        .figure(format!(
            "what was sent until then stored {} ms later",
            behind.as_millis()
        )))
    })
    .await
}
