//! `check-config --connect`: tries each command that the worker will use, at Redis and at MongoDB, and says which is
//! refused.

use std::time::Duration;

use ticket_shared::{
    lifecycle::Lifecycle,
    redis::{Program, examine},
};

use crate::{config::Config, store::Store};

/// Time for MongoDB to answer.
const DEADLINE: Duration = Duration::from_secs(10);

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
        match examine(&config.common, Program::Worker).await {
            Ok(examined) => examined.refused,
            Err(error) => vec![error.to_string()],
        },
    );
    let life = Lifecycle::default();
    let refused = async {
        match Store::open(&config.common.mongo_uri, life.clone()).await {
            Ok(store) => {
                let refused = store.refused().await;
                store.close().await;
                refused
            }
            Err(error) => vec![crate::store::Failure::of(&error).to_string()],
        }
    };
    let late = || vec!["no answer in time".to_owned()];
    note(
        "mongodb",
        tokio::time::timeout(DEADLINE, refused)
            .await
            .unwrap_or_else(|_| late()),
    );
    life.shutdown(DEADLINE).await;
    (lines, well)
}
