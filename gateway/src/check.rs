//! `check-config --connect`: tries each command that the gateway will use, at Redis and at MongoDB, and says which is
//! refused.

use std::time::Duration;

use ticket_shared::{
    lifecycle::Lifecycle,
    redis::{Program, examine},
};

use crate::{config::Config, store::Store};

/// Time for each command of MongoDB.
const DEADLINE: Duration = Duration::from_secs(5);

/// Tries the servers of these settings. Answers with a line for each server, and whether all is well.
pub async fn connect(config: &Config) -> (Vec<String>, bool) {
    let mut lines = Vec::new();
    let mut well = true;
    let mut note = |server: &str, problems: Vec<String>| {
        well &= problems.is_empty();
        if problems.is_empty() {
            lines.push(format!("{server}: ok"));
        }
        lines.extend(
            problems
                .into_iter()
                .map(|problem| format!("{server}: {problem}")),
        );
    };
    note(
        "redis",
        match examine(&config.common, Program::Gateway).await {
            Ok(examined) => examined.refused,
            Err(error) => vec![error.to_string()],
        },
    );
    let life = Lifecycle::default();
    note(
        "mongodb",
        match Store::new(&config.common.mongo_uri, life.clone(), DEADLINE) {
            Ok(store) => {
                let refused = store.refused().await;
                store.close().await;
                refused
            }
            Err(bad) => vec![bad.to_string()],
        },
    );
    life.shutdown(DEADLINE).await;
    (lines, well)
}
