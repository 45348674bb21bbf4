//! The `waystation` command.

use std::process::ExitCode;

use clap::Parser;
use waystation::cli::{Cli, run};
use waystation::telemetry::chain;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("waystation: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}
