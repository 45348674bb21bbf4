//! The `waystation` command.

use std::process::ExitCode;

use clap::Parser;
use waystation::cli::{Cli, run};

fn main() -> ExitCode {
    run(Cli::parse())
}
