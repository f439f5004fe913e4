//! `load`: measures the product beside its baseline. Its exit code says only whether that could be done.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use ticket_bench::{LoadArguments, load};
use ticket_shared::{
    config::{LogFormat, complain},
    lifecycle::Lifecycle,
    telemetry,
};

// One thread: more of them would only take cores from the servers.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = LoadArguments::parse();
    telemetry::init("warn", LogFormat::Pretty);
    let life = Lifecycle::default();
    let done = load(&arguments, &life).await;
    life.shutdown(Duration::from_millis(10)).await;
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
