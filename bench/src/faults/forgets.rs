//! Data that Redis forgets: the end of its file, its streams, any key.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context as _;

use super::{Told, under, usual};
use crate::{
    judge::Fault,
    report::Row,
    run::{Context, Run},
    world::{Shape, World},
};

/// Number of deletions of keys in one run.
const ROUNDS: usize = 12;

/// The file to which Redis appends, and how long it is.
fn file(world: &World) -> anyhow::Result<(PathBuf, u64)> {
    let directory = world.directory.join("redis/appendonlydir");
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .with_context(|| format!("{} can't be read", directory.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
        .collect();
    files.sort();
    let newest = files.pop().context("redis keeps no append-only file")?;
    let length = fs::metadata(&newest)?.len();
    Ok((newest, length))
}

/// Kills Redis, and `gateway` if one is given, and cuts off what Redis wrote while `more` messages were acknowledged, as a
/// power cut does.
async fn cut(run: &mut Run, more: u64, gateway: Option<usize>) -> anyhow::Result<()> {
    let (path, length) = file(&run.world)?;
    run.acks(more).await?;
    run.world.redis.kill();
    if let Some(gateway) = gateway {
        run.world.gateways[gateway].kill();
    }
    let (now, _) = file(&run.world)?;
    run.check(now == path, "redis wrote its file anew in between");
    fs::OpenOptions::new()
        .write(true)
        .open(&path)?
        .set_len(length)?;
    run.world.restart_redis().await
}

pub(super) async fn tail(context: Context) -> anyhow::Result<Row> {
    under(&context, "F5t", Shape::default(), usual(), async |run| {
        run.acks(300).await?;
        cut(run, 100, None).await?;
        let mark = run.mark();
        run.world.ready().await?;
        run.acks(800).await?;
        let mut told = Told::new(
            "Redis killed (-9), the end of its append-only file cut off (100 messages and more), started again",
        )
        .since(mark);
        told.by_design = vec![Fault::Lost];
        Ok(told)
    })
    .await
}

pub(super) async fn with_its_gateway(context: Context) -> anyhow::Result<Row> {
    under(&context, "F5g", Shape::default(), usual(), async |run| {
        run.acks(300).await?;
        // Those who follow through the other gateway have seen some of what is cut off, and only they.
        run.world.workers[0].kill();
        cut(run, 100, Some(0)).await?;
        run.world.workers[0].start()?;
        let mark = run.mark();
        run.acks(400).await?;
        run.world.gateways[0].start()?;
        run.world.ready().await?;
        run.acks(400).await?;
        let mut told = Told::new(
            "Redis and one of two gateways killed (-9), the end of Redis' append-only file cut off; that gateway starts again 400 messages later",
        )
        .since(mark);
        told.by_design = vec![Fault::Lost];
        Ok(told)
    })
    .await
}

pub(super) async fn unstored(context: Context) -> anyhow::Result<Row> {
    under(&context, "F35", Shape::default(), usual(), async |run| {
        run.acks(300).await?;
        // Nothing of what is cut off reaches MongoDB: those who follow the tickets alone have seen it.
        run.world.workers[0].kill();
        cut(run, 100, None).await?;
        run.world.workers[0].start()?;
        let mark = run.mark();
        run.world.ready().await?;
        run.acks(800).await?;
        let mut told = Told::new(
            "Redis killed (-9), the end of its append-only file cut off, of which no worker has read anything",
        )
        .since(mark);
        told.by_design = vec![Fault::Lost];
        Ok(told)
    })
    .await
}

/// The keys whose name ends like this.
fn keys(world: &World, ending: &str) -> anyhow::Result<Vec<String>> {
    let pattern = format!("*{ending}");
    let all = world.redis_cli(world.redis.address, &["--scan", "--pattern", &pattern])?;
    let mut all: Vec<String> = all.lines().map(str::to_owned).collect();
    all.sort();
    Ok(all)
}

fn delete(world: &World, keys: &[String]) -> anyhow::Result<()> {
    for key in keys {
        world.redis_cli(world.redis.address, &["del", key])?;
    }
    Ok(())
}

pub(super) async fn unread(context: Context) -> anyhow::Result<Row> {
    under(&context, "F36", Shape::default(), usual(), async |run| {
        run.acks(200).await?;
        run.world.workers[0].kill();
        run.acks(400).await?;
        let streams = keys(&run.world, ":events")?;
        delete(&run.world, &streams)?;
        run.acks(100).await?;
        run.world.workers[0].start()?;
        run.acks(400).await?;
        for stream in &streams {
            let trim = ["xtrim", stream, "maxlen", "0"];
            run.world.redis_cli(run.world.redis.address, &trim)?;
            let destroy = ["xgroup", "destroy", stream, "persist"];
            run.world.redis_cli(run.world.redis.address, &destroy)?;
        }
        let acked = run.load.acked();
        run.acks(400).await?;
        let persisted = run.persists(acked, Duration::from_secs(30)).await;
        run.note(persisted);
        Ok(Told::new(
            "all streams deleted while 400 messages and more were unread; later trimmed to nothing, and their groups destroyed",
        ))
    })
    .await
}

pub(super) async fn keys_gone(context: Context) -> anyhow::Result<Row> {
    under(&context, "F37", Shape::default(), usual(), async |run| {
        run.acks(200).await?;
        let mut deleted = 0;
        for round in 0..ROUNDS {
            let ending = [":log", ":idem", ""][round % 3];
            let tickets: Vec<String> = keys(&run.world, ":log")?
                .iter()
                .filter_map(|key| Some(format!("{}{ending}", key.strip_suffix(":log")?)))
                .collect();
            let some: Vec<String> = tickets.into_iter().skip(round % 2).step_by(2).collect();
            delete(&run.world, &some)?;
            deleted += some.len();
            run.acks(100).await?;
        }
        Ok(Told::new(
            "keys of tickets deleted one by one under load: logs, then what was sent, then states, time and again",
        )
        .figure(format!("{deleted} keys deleted")))
    })
    .await
}
