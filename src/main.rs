//! The `waystation` command.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use waystation::cli::{Cli, run};
use waystation::error_chain::chain;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If nobody can read it, the exit code is all there is to say.
            let _ = writeln!(std::io::stderr(), "waystation: {}", chain(&error));
            ExitCode::from(error.exit_code())
        }
    }
}
