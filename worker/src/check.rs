//! `check-config --connect`: tries each command that the worker will use, at Redis and at MongoDB, and says which is
//! refused.

use std::time::Duration;

use ticket_shared::{check::Report, lifecycle::Lifecycle, redis::Program};

use crate::{
    config::Config,
    store::{Failure, Store},
};

/// Time for MongoDB to answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Tries the servers of these settings.
pub async fn connect(config: &Config) -> Report {
    let mut report = Report::of_redis(&config.common, Program::Worker).await;
    let life = Lifecycle::default();
    let refused = async {
        match Store::open(&config.common.mongo_uri, life.clone()).await {
            Ok(store) => {
                let refused = store.refused().await;
                store.close().await;
                refused
            }
            Err(error) => vec![Failure::of(&error).to_string()],
        }
    };
    let problems = tokio::time::timeout(DEADLINE, refused).await;
    report.note(
        "mongodb",
        problems.unwrap_or_else(|_| vec!["no answer in time".to_owned()]),
    );
    life.shutdown(DEADLINE).await;
    report
}
