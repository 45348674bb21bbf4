//! Printing the result of a command to standard output, and the log of a deployment, which may be a result or not.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::error::CliError;
use crate::error_chain::printable;

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

/// A piece of a log that is the result.
pub(super) fn print_log(piece: &[u8]) -> Result<(), CliError> {
    write_log(io::stdout().lock(), piece).map_err(CliError::Print)
}

/// Prints a piece of a log for people. Errors are ignored: somebody closed standard error.
pub(super) fn show_log(piece: &[u8]) {
    let _ = write_log(io::stderr().lock(), piece);
}

/// What a command has said is another's text: a terminal shows it, and obeys none of it.
fn write_log(mut to: impl Write + IsTerminal, piece: &[u8]) -> io::Result<()> {
    if to.is_terminal() {
        let text = String::from_utf8_lossy(piece);
        for line in text.split_inclusive('\n') {
            let end = if line.ends_with('\n') { "\n" } else { "" };
            write!(to, "{}{end}", printable(line.trim_end_matches('\n')))?;
        }
    } else {
        to.write_all(piece)?;
    }
    to.flush()
}
