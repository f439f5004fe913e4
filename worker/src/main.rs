//! The worker's process: settings, logs, run, exit code.

use std::process::ExitCode;

use ticket_shared::{
    check::Report,
    config::{self, EXIT_CONFIG, Exposed, Parsed},
    lifecycle::{Lifecycle, block_on},
    telemetry,
};
use ticket_worker::{Command, Config, Error};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Parsed {
        config,
        mut effective,
        exposed,
    } = match config::parse::<Config>() {
        Ok(parsed) => parsed,
        Err(code) => return ExitCode::from(code),
    };
    let config = match config.resolve() {
        Ok(config) => config,
        Err(bad) => {
            config::complain(&bad.to_string());
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if let Some(Command::CheckConfig { connect }) = config.command {
        config.common.show(&mut effective);
        config::complain_of(&exposed);
        config::print_effective(&effective);
        return if connect {
            let tried = ticket_worker::check::connect(&config);
            Report::print(block_on(config.common.threads, tried))
        } else {
            ExitCode::SUCCESS
        };
    }
    telemetry::init(&config.common.log, config.common.log_format());
    exposed.iter().for_each(Exposed::log);
    let run = ticket_worker::run(&config, Lifecycle::default());
    let failure = match block_on(config.common.threads, run) {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error @ Error::Unfit(_))) => {
            config::complain(&error.to_string());
            return ExitCode::from(EXIT_CONFIG);
        }
        Ok(Err(error)) => error.to_string(),
        Err(error) => format!("no runtime: {error}"),
    };
    config::complain(&failure);
    ExitCode::FAILURE
}
