//! What happens to MongoDB.

use std::time::Duration;

use mongodb::{Client, bson::doc};

use super::{Told, outage, under, usual};
use crate::{
    load::Size,
    process::Signal,
    proxy::Mode,
    report::Row,
    run::{Context, Run},
    world::{Part, Shape, World},
};

fn proxied() -> Shape {
    Shape {
        proxied: vec![Part::Workers],
        ..Shape::default()
    }
}

fn way(world: &World, mode: Mode) {
    if let Some(proxy) = &world.worker_mongo {
        proxy.set(mode);
    }
}

/// Somebody comes to every ticket, without knowing anything of it.
async fn newcomers(run: &mut Run) {
    let heads = run
        .heads()
        .await
        .map_err(|error| error.context("joins of newcomers during the outage"));
    run.note(heads);
}

pub(super) async fn down(context: Context) -> anyhow::Result<Row> {
    let long = outage(&context, 60, 10);
    let size = Size {
        rate: 500,
        ..usual()
    };
    under(&context, "F12", Shape::default(), size, async |run| {
        run.world.mongo.kill();
        run.lasts(long / 2).await;
        newcomers(run).await;
        // Everybody of one gateway resumes on the other.
        run.world.gateways[0].signal(Signal::Term)?;
        run.world.gateways[0].stop(Duration::from_secs(20)).await?;
        run.world.gateways[0].start()?;
        run.lasts(long / 2).await;
        let owed = run.load.acked();
        run.world.restart_mongo().await?;
        let mark = run.mark();
        let drained = run.persists(owed, Duration::from_mins(2)).await;
        run.note(drained);
        let took = run.mark() - mark;
        run.check(took < 30_000, format!("the backlog took {took} ms"));
        Ok(Told::new(format!(
            "MongoDB killed (-9) for {} s at 500 messages a second; meanwhile newcomers join every ticket, and a \
             gateway is restarted so that its clients resume on the other",
            long.as_secs()
        ))
        .figure(format!("backlog of the outage stored {took} ms after MongoDB's return")))
    })
    .await
}

/// How many entries the workers may be behind in [`down_until_full`].
const BACKLOG: u64 = 2_000;

pub(super) async fn down_until_full(context: Context) -> anyhow::Result<Row> {
    let shape = Shape {
        gateway_env: vec![("BACKLOG_MAX", BACKLOG.to_string())],
        ..Shape::default()
    };
    let long = outage(&context, 30, 20);
    under(&context, "F13", shape, usual(), async |run| {
        run.world.mongo.kill();
        let before = run.load.acked();
        run.lasts(long).await;
        let taken = run.load.acked() - before;
        run.check(taken < BACKLOG * 3 / 2, format!("{taken} messages taken with a limit of {BACKLOG}"));
        run.world.restart_mongo().await?;
        let mark = run.mark();
        run.acks(100).await?;
        let took = run.mark() - mark;
        run.acks(400).await?;
        Ok(Told::new(format!(
            "MongoDB killed (-9) for {} s, with at most {BACKLOG} entries allowed to wait (`BACKLOG_MAX`)",
            long.as_secs()
        ))
        .figure(format!("{taken} taken meanwhile"))
        .figure(format!("messages taken again {took} ms after MongoDB's return")))
    })
    .await
}

pub(super) async fn slow(context: Context) -> anyhow::Result<Row> {
    let long = outage(&context, 20, 10);
    under(&context, "F14", proxied(), usual(), async |run| {
        let before = run.load.acked();
        way(&run.world, Mode::Delay(Duration::from_secs(2)));
        run.lasts(long / 2).await;
        way(&run.world, Mode::Throttle(32 * 1024));
        run.lasts(long / 2).await;
        let during = run.load.acked() - before;
        way(&run.world, Mode::Pass);
        let owed = run.load.acked();
        let mark = run.mark();
        let drained = run.persists(owed, Duration::from_mins(1)).await;
        run.note(drained);
        Ok(Told::new(format!(
            "every answer of MongoDB to the worker 2 s late, for {} s",
            long.as_secs()
        ))
        .figure(format!("{during} messages taken meanwhile"))
        .figure(format!("backlog stored {} ms after", run.mark() - mark)))
    })
    .await
}

pub(super) async fn unknown(context: Context) -> anyhow::Result<Row> {
    under(&context, "F15", proxied(), usual(), async |run| {
        for _ in 0..3 {
            way(&run.world, Mode::Mute);
            run.lasts(Duration::from_secs(2)).await;
            way(&run.world, Mode::Cut);
            run.lasts(Duration::from_millis(300)).await;
            way(&run.world, Mode::Pass);
            run.acks(200).await?;
        }
        Ok(Told::new(
            "three times: MongoDB's answers thrown away for 2 s while its writes go through, then the connections cut",
        ))
    })
    .await
}

/// Errors of a primary that steps down: code and name, and `true` if the write is done all the same.
const STEPS_DOWN: [(i32, &str, bool); 7] = [
    (10_107, "NotWritablePrimary", false),
    (11_602, "InterruptedDueToReplStateChange", false),
    (91, "ShutdownInProgress", false),
    (189, "PrimarySteppedDown", false),
    (189, "PrimarySteppedDown", true),
    (11_602, "InterruptedDueToReplStateChange", true),
    (91, "ShutdownInProgress", true),
];

pub(super) async fn steps_down(context: Context) -> anyhow::Result<Row> {
    let shape = Shape {
        failpoints: true,
        ..Shape::default()
    };
    under(&context, "F15s", shape, usual(), async |run| {
        let client = Client::with_uri_str(run.world.mongo_uri()).await?;
        let admin = client.database("admin");
        for (code, name, done) in STEPS_DOWN {
            let error = doc! { "code": code, "codeName": name, "errmsg": "stepping down" };
            let mut fails = doc! { "failCommands": ["insert", "update"] };
            if done {
                fails.insert("writeConcernError", error);
            } else {
                fails.insert("errorCode", code);
            }
            let fail = doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": fails };
            admin.run_command(fail).await?;
            let before = run.load.acked();
            run.lasts(Duration::from_millis(1_500)).await;
            let taken = run.load.acked() - before;
            run.check(taken > 0, format!("nothing was taken during {name}"));
            let end = doc! { "configureFailPoint": "failCommand", "mode": "off" };
            admin.run_command(end).await?;
            run.acks(100).await?;
        }
        client.shutdown().await;
        let owed = run.load.acked();
        let mark = run.mark();
        let drained = run.persists(owed, Duration::from_mins(1)).await;
        run.note(drained);
        Ok(Told::new(
            "seven times for 1.5 s: every write of the worker answered as by a primary that steps down or shuts down, four \
             times without doing it and three times after it is done",
        )
        .figure(format!("backlog stored {} ms after", run.mark() - mark)))
    })
    .await
}
