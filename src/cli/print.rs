//! Printing the result of a command to standard output.

use std::io::{self, Write as _};

use serde::Serialize;

use super::error::CliError;

pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .map_err(CliError::Print)
}

/// A result for programs: one JSON object.
pub(super) fn print_json(result: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(result).map_err(|error| CliError::Print(error.into()))?;
    print(&text)
}
