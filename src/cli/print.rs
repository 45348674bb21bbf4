//! Printing the result of a command to standard output.

use std::io::{self, Write as _};

use super::error::CliError;

pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .map_err(CliError::Print)
}
