//! Load without a fault, to compare; and the long one, with kills of everything in turn.

use std::time::Duration;

use tokio::time::Instant;

use super::{Told, under, usual};
use crate::{
    load::Size,
    report::Row,
    run::{Context, Run},
    world::Shape,
};

/// The time from one kill to the next.
const TURN: Duration = Duration::from_secs(5);
/// How long what was killed is down.
const DOWN: Duration = Duration::from_secs(1);

pub(super) async fn none(context: Context) -> anyhow::Result<Row> {
    under(&context, "none", Shape::default(), usual(), async |run| {
        run.acks(2_000).await?;
        Ok(Told::new("nothing"))
    })
    .await
}

pub(super) async fn rotation(context: Context) -> anyhow::Result<Row> {
    let size = Size {
        tickets: 40,
        customers: 2,
        agents: 8,
        spread: 4,
        rate: 800,
        window: 16,
    };
    turns(&context, "rotation", size, context.rotation).await
}

/// The same with many more tickets on each connection, so that each kill is followed by a storm of joins.
pub(super) async fn storms(context: Context) -> anyhow::Result<Row> {
    let size = Size {
        tickets: 100,
        customers: 2,
        agents: 10,
        spread: 5,
        rate: 800,
        window: 16,
    };
    turns(&context, "storms", size, context.rotation / 8).await
}

async fn turns(context: &Context, name: &str, size: Size, goal: u64) -> anyhow::Result<Row> {
    let shape = Shape {
        workers: 2,
        ..Shape::default()
    };
    under(context, name, shape, size, async |run| {
        let began = Instant::now();
        // Far more than it needs; a run that stands still must not stand for ever.
        let deadline = Duration::from_secs(60 + goal / 50);
        let mut kills = 0_usize;
        let mut next = began;
        while run.load.acked() < goal && began.elapsed() < deadline {
            next += TURN;
            turn(run, kills).await?;
            kills += 1;
            tokio::time::sleep_until(next).await;
        }
        let acked = run.load.acked();
        run.check(acked >= goal, format!("{acked} of {goal} messages in {} s", deadline.as_secs()));
        run.world.ready().await?;
        let rate = acked / began.elapsed().as_secs().max(1);
        Ok(Told::new(format!(
            "{kills} kills (-9), one every 5 s, each for 1 s: gateway, worker, Redis (with AOF), MongoDB, the other \
             gateway, the other worker"
        ))
        .figure(format!("{rate} acknowledged a second")))
    })
    .await
}

async fn turn(run: &mut Run, kills: usize) -> anyhow::Result<()> {
    let turn = kills % 6;
    let process = match turn {
        0 => &mut run.world.gateways[0],
        1 => &mut run.world.workers[0],
        2 => &mut run.world.redis,
        3 => &mut run.world.mongo,
        4 => &mut run.world.gateways[1],
        _ => &mut run.world.workers[1],
    };
    process.kill();
    run.lasts(DOWN).await;
    match turn {
        0 => run.world.gateways[0].start(),
        1 => run.world.workers[0].start(),
        2 => run.world.restart_redis().await,
        3 => run.world.restart_mongo().await,
        4 => run.world.gateways[1].start(),
        _ => run.world.workers[1].start(),
    }
}
