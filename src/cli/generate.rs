//! `waystation completions | man`: from the same definitions as `--help`.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use serde_json::json;

use super::error::CliError;
use super::print::print_json;
use crate::config::OutputSettings;

const NAME: &str = "waystation";

/// Prints what makes a shell complete the words of this program.
pub(super) fn completions(
    mut program: Command,
    shell: Shell,
    output: OutputSettings,
) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, NAME, &mut script);
    if output.json {
        let script = String::from_utf8_lossy(&script);
        return print_json(&json!({"completions": script}));
    }
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(&script).and_then(|()| stdout.flush());
    written.map_err(CliError::Print)
}

/// Writes a page for the program and each of its commands.
pub(super) fn man(program: Command, folder: &Path, output: OutputSettings) -> Result<(), CliError> {
    let failed = |source| CliError::Path {
        path: folder.to_owned(),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(program, folder).map_err(failed)?;
    if output.json {
        return print_json(&json!({"folder": folder}));
    }
    Ok(())
}
