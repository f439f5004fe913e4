//! `check-config --connect`: tries each command that the gateway will use, at Redis and at MongoDB, and says which is
//! refused.

use std::time::Duration;

use ticket_shared::{check::Report, lifecycle::Lifecycle, redis::Program};

use crate::{config::Config, store::Store};

/// Time for each command of MongoDB.
const DEADLINE: Duration = Duration::from_secs(5);

/// Tries the servers of these settings.
pub async fn connect(config: &Config) -> Report {
    let mut report = Report::of_redis(&config.common, Program::Gateway).await;
    let life = Lifecycle::default();
    let problems = match Store::new(&config.common.mongo_uri, life.clone(), DEADLINE) {
        Ok(store) => {
            let refused = store.refused().await;
            store.close().await;
            refused
        }
        Err(bad) => vec![bad.to_string()],
    };
    report.note("mongodb", problems);
    life.shutdown(DEADLINE).await;
    report
}
