//! `waystation runner`: runs deployments until it is stopped.

use std::io;
use std::thread;

use tokio::sync::watch;

use super::error::CliError;
use super::signals::Signals;
use super::trust::{check_privacy, read_authorities, read_token};
use crate::config::{RunnerSettings, search_path};
use crate::runner::{DeployCommand, Runner, RunnerParts};

pub(super) async fn run(settings: RunnerSettings) -> Result<(), CliError> {
    check_privacy(&settings.server, settings.plain_http)?;
    let mut signals = Signals::listen()?;
    let runner = Runner::open(parts(&settings)?)?;
    let (stop, stopping) = watch::channel(false);
    if settings.end_with_stdin {
        let stop = stop.clone();
        thread::spawn(move || {
            // Nothing is ever sent: it ends with the process at the other end.
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            stop.send_replace(true);
        });
    }
    tracing::info!("asking {} for work", settings.server);
    let running = runner.run(stopping);
    tokio::pin!(running);
    tokio::select! {
        () = &mut running => return Ok(()),
        name = signals.next() => {
            tracing::info!("{name}: shutting down, stopping what runs");
            stop.send_replace(true);
        }
    }
    tokio::select! {
        () = &mut running => Ok(()),
        _name = signals.next() => Err(CliError::RunnerCutOff),
    }
}

fn parts(settings: &RunnerSettings) -> Result<RunnerParts, CliError> {
    let command = DeployCommand::new(&settings.command, &search_path());
    Ok(RunnerParts {
        server: settings.server.clone(),
        token: read_token(&settings.token_file)?,
        work_dir: settings.work_dir.clone(),
        command: command.map_err(CliError::Command)?,
        authorities: settings
            .ca_file
            .as_deref()
            .map_or(Ok(Vec::new()), read_authorities)?,
        allowed: settings.fetch_allow.clone(),
        plain_http: settings.fetch_plain_http,
        archive_bytes: settings.archive_limit.as_u64(),
        unpack: settings.unpack.limits(),
    })
}
