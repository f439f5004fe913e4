//! Redis can't write to its disk.

use std::{fs::File, io::Write, time::Duration};

use super::{
    Told, outage,
    redis::{refusing, set},
    skipped, under, usual,
};
use crate::{
    report::Row,
    run::Context,
    wait::until,
    world::{Shape, SmallDisk},
};

pub(super) async fn no_snapshots(context: Context) -> anyhow::Result<Row> {
    let long = outage(&context, 8, 5);
    under(&context, "F10", Shape::default(), usual(), async |run| {
        // A snapshot can't replace a directory: as good as a full disk, and nobody needs to be root for it.
        let blocked = run.world.directory.join("redis").join("dump.rdb");
        std::fs::create_dir_all(&blocked)?;
        let took = refusing(
            run,
            long,
            async |world| {
                set(world, "save", "1 1")?;
                let refuses = async || {
                    let info = world.redis_cli(world.redis.address, &["info", "persistence"]);
                    info.is_ok_and(|info| info.contains("rdb_last_bgsave_status:err"))
                };
                until("Redis fails to save", Duration::from_secs(20), refuses)
                    .await
                    .map(drop)
            },
            async |world| {
                std::fs::remove_dir_all(&blocked)?;
                let saved = async || {
                    let info = world.redis_cli(world.redis.address, &["info", "persistence"]);
                    info.is_ok_and(|info| info.contains("rdb_last_bgsave_status:ok"))
                };
                world.redis_cli(world.redis.address, &["bgsave"]).ok();
                until("Redis saves again", Duration::from_secs(20), saved)
                    .await
                    .map(drop)
            },
        )
        .await?;
        set(&run.world, "save", "")?;
        Ok(Told::new(format!(
            "Redis can't save for {} s and refuses writes (MISCONF)",
            long.as_secs()
        ))
        .figure(format!("messages taken again after {took} ms")))
    })
    .await
}

pub(super) async fn full(context: Context) -> anyhow::Result<Row> {
    let probe = context.directory.join("disk");
    if let Err(error) = SmallDisk::mount(&probe) {
        return Ok(skipped(format!("a small disk can't be mounted: {error}")));
    }
    let long = outage(&context, 8, 5);
    let shape = Shape {
        small_disk: true,
        ..Shape::default()
    };
    under(&context, "F10f", shape, usual(), async |run| {
        let filler = run.world.directory.join("redis").join("filler");
        let status = async |world: &crate::world::World, word: &str| {
            let info = world.redis_cli(world.redis.address, &["info", "persistence"]);
            info.is_ok_and(|info| info.contains(&format!("aof_last_write_status:{word}")))
        };
        let took = refusing(
            run,
            long,
            async |world| {
                let mut file = File::create(&filler)?;
                // Ends with the error that is wanted. The disk is a few megabytes.
                while file.write_all(&[0; 4096]).is_ok() {}
                until("Redis notices", Duration::from_secs(20), async || {
                    status(world, "err").await
                })
                .await
                .map(drop)
            },
            async |world| {
                std::fs::remove_file(&filler)?;
                until("Redis writes again", Duration::from_secs(20), async || {
                    status(world, "ok").await
                })
                .await
                .map(drop)
            },
        )
        .await?;
        Ok(Told::new(format!(
            "the disk of Redis' append-only file (a small tmpfs) full for {} s",
            long.as_secs()
        ))
        .figure(format!("messages taken again after {took} ms")))
    })
    .await
}
