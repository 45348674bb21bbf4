//! The `waystation` command.

use std::process::ExitCode;

use waystation::cli::{Cli, run};

fn main() -> ExitCode {
    run(Cli::read())
}
