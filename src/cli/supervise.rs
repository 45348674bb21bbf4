//! `waystation supervise`, which a runner starts between itself and its command. Nobody else does.

use std::ffi::OsString;

use super::error::CliError;
use super::signals::Signals;
use crate::runner::supervise;

pub(super) async fn run(command: &[OsString]) -> Result<(), CliError> {
    // Whoever stops the whole group of a service means the command; this process then ends by itself.
    let _ignored = Signals::listen()?;
    supervise(command).await.map_err(CliError::Supervisor)
}
