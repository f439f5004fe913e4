//! MongoDB that refuses the product's commands: rights, quotas, disks.

use std::time::Duration;

use super::{Told, outage, under, usual};
use crate::{
    report::Row,
    rest,
    run::{Context, Run},
    wait::until,
    world::Shape,
};

/// Time within which a program names what is refused.
const NAMED: Duration = Duration::from_secs(30);

/// Refusals of commands: the code, its name, and the commands.
type Refusal = (i32, &'static str, &'static [&'static str]);

/// The workers' user may not write, then the gateways' may not read either.
pub(super) async fn without_a_right(context: Context) -> anyhow::Result<Row> {
    const REFUSED: [Refusal; 2] = [
        (13, "Unauthorized", &["insert", "update"]),
        (13, "Unauthorized", &["find", "aggregate"]),
    ];
    refused(
        &context,
        "F40m",
        &REFUSED,
        "the MongoDB user may not write, then not read",
    )
    .await
}

/// A provider's quota is used up, then a disk is full.
pub(super) async fn full(context: Context) -> anyhow::Result<Row> {
    const REFUSED: [Refusal; 2] = [
        (8000, "AtlasError", &["insert", "update"]),
        (14_031, "OutOfDiskSpace", &["insert", "update"]),
    ];
    let done = "MongoDB refuses writes over a quota (8000), then for want of disk space (14031)";
    refused(&context, "F40q", &REFUSED, done).await
}

async fn refused(
    context: &Context,
    name: &str,
    refusals: &'static [Refusal],
    done: &str,
) -> anyhow::Result<Row> {
    let shape = Shape {
        refusing_mongo: true,
        ..Shape::default()
    };
    let long = outage(context, 5, 3);
    under(context, name, shape, usual(), async |run| {
        let mut told = Told::new(done);
        for refusal in refusals {
            told = told.figure(one(run, *refusal, long).await?);
        }
        Ok(told)
    })
    .await
}

/// Refuses, sees who says so and that messages are taken all the same, mends it, and sees that everything is stored.
async fn one(
    run: &mut Run,
    (code, name, commands): Refusal,
    long: Duration,
) -> anyhow::Result<String> {
    let Some(op_msg) = &run.world.op_msg else {
        anyhow::bail!("no proxy in front of MongoDB")
    };
    op_msg.refuse(commands, code, name);
    let writes = commands.contains(&"insert");
    let says = async |ops: String, words: &[&str], status: u16| {
        let Ok((is, body)) = rest::answer(&ops, "/readyz").await else {
            return false;
        };
        let text = body.to_string();
        is == status && words.iter().all(|word| text.contains(word))
    };
    let worker = run.world.workers[0].address.to_string();
    let gateway = run.world.ops[0].to_string();
    if writes {
        let words = [name, "writing"];
        until("the worker says why", NAMED, async || {
            says(worker.clone(), &words, 503).await
        })
        .await?;
    } else {
        // A list is not read from Redis.
        let address = run.world.gateways[0].address.to_string();
        let words = ["mongodb", name];
        until("the gateway says why", NAMED, async || {
            let _ = rest::get(&address, "/tickets?limit=1").await;
            says(gateway.clone(), &words, 200).await
        })
        .await?;
    }
    let before = run.load.acked();
    run.lasts(long).await;
    let taken = run.load.acked() - before;
    run.check(taken > 0, "messages are not taken although Redis is there");
    if let Some(op_msg) = &run.world.op_msg {
        op_msg.clear();
    }
    let owed = run.load.acked();
    let stored = run.persists(owed, Duration::from_mins(1)).await?;
    until("the worker is ready again", NAMED, async || {
        rest::status(&worker, "/readyz")
            .await
            .is_ok_and(|is| is == 200)
    })
    .await?;
    Ok(format!(
        "{code}: {taken} messages taken meanwhile, stored {} ms after it was mended",
        stored.as_millis()
    ))
}
