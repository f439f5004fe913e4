//! `ticket-gateway`: reads its settings, runs, and ends with an exit code.

use std::process::ExitCode;

use ticket_gateway::{
    RunError,
    config::{Command, Config},
};
use ticket_shared::{
    config::{EXIT_CONFIG, complain, parse, print_effective},
    lifecycle::Lifecycle,
    telemetry,
};

#[tokio::main]
async fn main() -> ExitCode {
    let mut parsed = match parse::<Config>() {
        Ok(parsed) => parsed,
        Err(code) => return code.into(),
    };
    let config = match parsed.config.resolve() {
        Ok(config) => config,
        Err(error) => {
            complain(&error.to_string());
            return EXIT_CONFIG.into();
        }
    };
    if let Some(Command::CheckConfig) = config.command {
        config.common.show(&mut parsed.effective);
        print_effective(&parsed.effective);
        return ExitCode::SUCCESS;
    }
    telemetry::init(&config.common.log, config.common.log_format());
    match ticket_gateway::run(config, Lifecycle::default()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            if matches!(error, RunError::Setting(_)) {
                EXIT_CONFIG.into()
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
