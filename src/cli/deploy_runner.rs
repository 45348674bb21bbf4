//! The runner of `serve --deploy`: a process of its own, which asks this server over loopback like any other runner.
//! It is started again if it dies, and ends with the server.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::error::CliError;
use super::parts;
use crate::api::{App, router};
use crate::config::{ServeSettings, search_path};
use crate::error_chain::chain;
use crate::ops::log::LogFormat;
use crate::runner::{await_end, make_work_dir, token_file};
use crate::server::Server;
use crate::service::api_tokens::{ApiTokenError, parse_api_token};

/// How long it may take to stop what it runs: 10 s for the command, and some for what follows.
const END_TIMEOUT: Duration = Duration::from_secs(15);
/// How long to wait before it is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(2);
const TOKEN_NAME: &str = "serve --deploy";

/// A runner that is kept running.
pub(super) struct DeployRunner {
    stop: watch::Sender<bool>,
    kept: JoinHandle<()>,
    serving: JoinHandle<()>,
}

impl DeployRunner {
    /// Starts it, if it is asked for.
    pub(super) async fn start(
        settings: &ServeSettings,
        app: &Arc<App>,
    ) -> Result<Option<Self>, CliError> {
        let Some(command) = &settings.deploy else {
            return Ok(None);
        };
        let work_dir = std::path::absolute(&settings.work_dir).map_err(CliError::DeployDir)?;
        make_work_dir(&work_dir)?;
        let token_file = token_file(&work_dir);
        renew_token(app, &token_file).await?;
        let (address, serving) = serve_runner(settings, app).await?;
        let start = Start {
            program: std::env::current_exe().map_err(CliError::DeployRunner)?,
            server: format!("http://{address}"),
            token_file,
            work_dir,
            archive_limit: settings.upload_limit.as_u64(),
            log: settings.log,
            command: command.split_whitespace().map(str::to_owned).collect(),
        };
        let child = start.child().map_err(CliError::DeployRunner)?;
        let (stop, stopping) = watch::channel(false);
        let kept = tokio::spawn(start.keep(child, stopping));
        Ok(Some(Self {
            stop,
            kept,
            serving,
        }))
    }

    /// Lets it stop what it runs, and report that, while the server still answers.
    pub(super) async fn end(self) {
        self.stop.send_replace(true);
        // It ends by itself; a panic is in the log.
        let _ = self.kept.await;
        self.serving.abort();
    }
}

/// An address for it alone: another may want TLS for a name that is not loopback's, or be behind a proxy; and the
/// end of a deployment is still to be taken when nobody else is served any more.
async fn serve_runner(
    settings: &ServeSettings,
    app: &Arc<App>,
) -> Result<(SocketAddr, JoinHandle<()>), CliError> {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let failed = |source| CliError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let limits = parts::connection_limits(settings);
    let server = Server::new(router(Arc::clone(app)), limits, None);
    let serving = tokio::spawn(async move { server.accept(&listener).await });
    Ok((bound, serving))
}

/// Makes a token for it, and ends the one before: nobody else knows either.
async fn renew_token(app: &App, path: &Path) -> Result<(), CliError> {
    let tokens = &app.service.api_tokens;
    let earlier = fs::read_to_string(path).unwrap_or_default();
    if let Some((id, _)) = parse_api_token(earlier.trim()) {
        match tokens.revoke(id).await {
            Ok(()) | Err(ApiTokenError::UnknownId { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let now = app.service.clock.now();
    let (_, secret) = tokens.create_for_runners(TOKEN_NAME, now).await?;
    let written = write_private(path, secret.reveal());
    written.map_err(|source| CliError::TokenFile {
        path: path.to_owned(),
        source,
    })
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file: File = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

/// What a runner is started with.
struct Start {
    program: PathBuf,
    server: String,
    token_file: PathBuf,
    work_dir: PathBuf,
    archive_limit: u64,
    log: LogFormat,
    command: Vec<String>,
}

impl Start {
    /// Its standard input ends with this process, and it with that.
    fn child(&self) -> io::Result<Child> {
        let archive_limit = match self.archive_limit {
            0 => u64::MAX,
            bytes => bytes,
        };
        Command::new(&self.program)
            .arg("runner")
            .args(["--server", &self.server, "--end-with-stdin"])
            .arg("--token-file")
            .arg(&self.token_file)
            .arg("--work-dir")
            .arg(&self.work_dir)
            .arg(format!("--archive-limit={archive_limit}"))
            .arg(format!("--log={}", self.log.name()))
            .arg("--")
            .args(&self.command)
            // Settings of the server are none of the runner's.
            .env_clear()
            .env("PATH", search_path())
            .stdin(Stdio::piped())
            // Ctrl-C at a terminal is for the server, which then ends its runner in time.
            .process_group(0)
            .spawn()
    }

    async fn keep(self, mut child: Child, mut stop: watch::Receiver<bool>) {
        loop {
            let ended = tokio::select! {
                ended = await_end(&mut child) => ended,
                () = stopped(&mut stop) => return end(child).await,
            };
            match ended {
                Ok(status) => {
                    tracing::error!("the runner of --deploy ended ({status}); starting it again");
                }
                Err(error) => tracing::error!(
                    error = chain(&error),
                    "the runner of --deploy cannot be watched"
                ),
            }
            tokio::select! {
                () = sleep(RESTART_PAUSE) => {}
                () = stopped(&mut stop) => return,
            }
            match self.child() {
                Ok(started) => child = started,
                Err(error) => {
                    tracing::error!(error = chain(&error), "cannot start the runner of --deploy");
                }
            }
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // If nobody could say so any more, that is as good.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn end(mut child: Child) {
    // One that has ended by itself meanwhile needs no signal.
    let _ = kill_process(Pid::from_child(&child), Signal::TERM);
    if !matches!(timeout(END_TIMEOUT, await_end(&mut child)).await, Ok(Ok(_))) {
        tracing::warn!("the runner of --deploy does not end; it is killed");
        let _ = child.kill();
    }
    let _ = child.wait();
}
