//! `ticket-gateway`: reads its settings, runs, and ends with an exit code.

use std::process::ExitCode;

use ticket_gateway::{
    RunError,
    auth::{AuthSettings, TokenArgs, sign},
    check,
    config::{Command, Config},
};
use ticket_shared::{
    check::Report,
    config::{EXIT_CONFIG, Exposed, complain, complain_of, parse, print_effective},
    lifecycle::{Lifecycle, block_on},
    telemetry,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut parsed = match parse::<Config>() {
        Ok(parsed) => parsed,
        Err(code) => return code.into(),
    };
    if let Some(Command::Token(args)) = &parsed.config.command {
        return print_token(&parsed.config.auth, args);
    }
    let config = match parsed.config.resolve() {
        Ok(config) => config,
        Err(error) => {
            complain(&error.to_string());
            return EXIT_CONFIG.into();
        }
    };
    if let Some(Command::CheckConfig { connect }) = config.command {
        config.show(&mut parsed.effective);
        complain_of(&parsed.exposed);
        print_effective(&parsed.effective);
        return if connect {
            Report::print(block_on(config.common.threads, check::connect(&config)))
        } else {
            ExitCode::SUCCESS
        };
    }
    telemetry::init(&config.common.log, config.common.log_format());
    parsed.exposed.iter().for_each(Exposed::log);
    let threads = config.common.threads;
    match block_on(threads, ticket_gateway::run(config, Lifecycle::default())) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("no runtime: {error}"));
            ExitCode::FAILURE
        }
        Ok(Err(error)) => {
            complain(&error.to_string());
            if matches!(error, RunError::Setting(_)) {
                EXIT_CONFIG.into()
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn print_token(settings: &AuthSettings, args: &TokenArgs) -> ExitCode {
    use std::io::Write;
    match sign(settings, args) {
        Ok(token) => {
            // A closed pipe is not worth a different exit code.
            let _ = writeln!(std::io::stdout(), "{token}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            EXIT_CONFIG.into()
        }
    }
}
