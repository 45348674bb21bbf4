//! `waystation supervise`, which a runner starts between itself and its command. Nobody else does.

use std::ffi::OsString;

use super::error::CliError;
use super::signals::Signals;
use crate::runner::supervise;

pub(super) async fn run(command: &[OsString]) -> Result<(), CliError> {
    // A signal to the whole group of a service is meant for the command; this process then ends by itself.
    let _ignored = Signals::listen()?;
    supervise(command).await.map_err(CliError::Supervisor)
}
