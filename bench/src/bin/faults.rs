//! `faults`: runs faults, and ends with 0 where every promise was kept.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use ticket_bench::{Arguments, faults};
use ticket_shared::{
    config::{LogFormat, complain},
    lifecycle::Lifecycle,
    telemetry,
};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The proxies are ended in the middle of what they do, and that is no news.
    telemetry::init("warn,ticket_shared::lifecycle=error", LogFormat::Pretty);
    let life = Lifecycle::default();
    let kept = faults(&arguments, &life).await;
    // Proxies have nothing to finish.
    life.shutdown(Duration::from_millis(10)).await;
    match kept {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
