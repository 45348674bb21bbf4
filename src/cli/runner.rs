//! `waystation runner`: runs deployments until it is told to stop.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::thread;

use http::Uri;
use reqwest::Certificate;
use tokio::sync::watch;

use super::error::CliError;
use super::signals::Signals;
use crate::config::{RunnerSettings, search_path};
use crate::ownership;
use crate::pack::UnpackLimits;
use crate::public_url::PublicUrl;
use crate::runner::{DeployCommand, Runner, RunnerParts};
use crate::secret::Secret;

/// What a token file may have: far more than a token.
const TOKEN_FILE_BYTES: u64 = 4096;

pub(super) async fn run(settings: RunnerSettings) -> Result<(), CliError> {
    check_privacy(&settings)?;
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
    let unpack = UnpackLimits {
        unpacked_bytes: settings.unpack_limit.as_u64(),
        entries: settings.entry_limit as usize,
        ..UnpackLimits::default()
    };
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
        unpack,
    })
}

/// Token and links cross a network within TLS only, unless it is said to be meant otherwise.
fn check_privacy(settings: &RunnerSettings) -> Result<(), CliError> {
    let is_private = !is_plain(&settings.server) || is_on_this_machine(&settings.server);
    if is_private || settings.plain_http {
        Ok(())
    } else {
        let server = settings.server.clone();
        Err(CliError::PlainServer { server })
    }
}

fn is_plain(url: &PublicUrl) -> bool {
    url.to_string().starts_with("http://")
}

fn is_on_this_machine(url: &PublicUrl) -> bool {
    let url: Uri = url.to_string().parse().unwrap_or_default();
    let host = url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address: Result<std::net::IpAddr, _> = host.parse();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A token that others could read, or replace, is none.
fn read_token(path: &Path) -> Result<Secret, CliError> {
    let failed = |source| CliError::TokenFile {
        path: path.to_owned(),
        source,
    };
    ownership::check_path(path)?;
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(TOKEN_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let token = text.trim();
    if token.is_empty() || token.contains(|c: char| c.is_whitespace() || !c.is_ascii_graphic()) {
        let problem = "it has to hold one token and nothing else";
        return Err(failed(io::Error::other(problem)));
    }
    Ok(Secret::new(token.to_owned()))
}

fn read_authorities(path: &Path) -> Result<Vec<Certificate>, CliError> {
    let failed = |source| CliError::Authorities {
        path: path.to_owned(),
        source,
    };
    let pem = fs::read(path).map_err(failed)?;
    Certificate::from_pem_bundle(&pem).map_err(|error| failed(io::Error::other(error)))
}
