//! Runs deployments: claims them from a server, fetches and unpacks their archives, runs the operator's command on
//! them, and reports. It is another process than the server, usually of another user, on any machine.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Certificate;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::backoff::Backoff;
use crate::error_chain::chain;
use crate::pack::UnpackLimits;
use crate::public_url::PublicUrl;
use crate::secret::Secret;

mod addresses;
mod command;
mod fetch;
mod foreign;
mod job;
mod output;
mod processes;
mod secret_mask;
mod server;
mod stop_reason;
mod supervisor;
mod work;

use command::mark_of;
use job::Deployer;
use processes::stop_marked;
use server::{Server, Work};
use stop_reason::{StopReason, StopSignal};
use work::WorkFolder;

pub use addresses::{Allowed, NotAllowable};
pub use command::DeployCommand;
pub use foreign::{ForeignError, ForeignRules, Resolver, system_resolver};
pub use supervisor::{await_end, supervise};
pub use work::{WorkError, make_work_dir, token_file};

/// The shortest time between two questions for work that were both answered with none.
const ASK_EVERY: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error("cannot set up the HTTP client")]
    Http(#[source] reqwest::Error),
    #[error("cannot become the reaper of the command's processes")]
    Reaper(#[source] io::Error),
}

/// The settings of a runner.
pub struct RunnerParts {
    pub server: PublicUrl,
    pub token: Secret,
    pub work_dir: PathBuf,
    pub command: DeployCommand,
    /// Authorities that certificates may be of, beside those of the system.
    pub authorities: Vec<Certificate>,
    /// What links to archives elsewhere may lead to.
    pub allowed: Vec<Allowed>,
    pub plain_http: bool,
    pub archive_bytes: u64,
    pub unpack: UnpackLimits,
}

pub struct Runner {
    deployer: Deployer,
    folder: WorkFolder,
}

impl Runner {
    /// Takes the work folder.
    pub fn open(parts: RunnerParts) -> Result<Self, RunnerError> {
        let server = Server::at(&parts.server, parts.token.clone(), &parts.authorities);
        processes::adopt_orphans().map_err(RunnerError::Reaper)?;
        let foreign = ForeignRules {
            allowed: parts.allowed,
            plain_http: parts.plain_http,
            authorities: parts.authorities,
            resolver: system_resolver(),
        };
        Ok(Self {
            deployer: Deployer {
                server: server.map_err(RunnerError::Http)?,
                token: parts.token,
                command: parts.command,
                foreign,
                archive_bytes: parts.archive_bytes,
                unpack: parts.unpack,
            },
            folder: WorkFolder::open(&parts.work_dir)?,
        })
    }

    /// Runs deployments, one after the other, until `stop` says so; the one under way is then stopped.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        self.clean_up().await;
        let mut backoff = Backoff::between(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let asked_at = Instant::now();
            let claimed = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                claimed = self.deployer.server.claim() => claimed,
            };
            let pause = match claimed {
                Ok(Some(work)) => {
                    backoff.reset();
                    self.deploy(&work, &stop).await;
                    continue;
                }
                Ok(None) => {
                    backoff.reset();
                    (asked_at + ASK_EVERY).saturating_duration_since(Instant::now())
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "cannot ask for work; trying again");
                    backoff.next()
                }
            };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Ends what an earlier runner left if it was killed, and removes it.
    async fn clean_up(&self) {
        if !stop_marked(&mark_of(self.folder.jobs())).await {
            tracing::error!("processes that an earlier runner left cannot be killed");
        }
        self.folder.empty();
    }

    async fn deploy(&mut self, work: &Work, stop: &watch::Receiver<bool>) {
        let (id, app) = (&work.claim.deployment.id, &work.claim.app.name);
        tracing::info!(deployment = id, app = app, "a deployment begins");
        let signal = StopSignal::new();
        let (mut stopping, at_stop) = (stop.clone(), signal.clone());
        let stopper = tokio::spawn(async move {
            if stopping.wait_for(|stop| *stop).await.is_ok() {
                at_stop.stop(StopReason::ShutDown);
            }
        });
        let done = match self.folder.begin_job() {
            Ok(job) => self.deployer.run(work, &job, &signal, stop.clone()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            tracing::error!(error = chain(&error), deployment = id, "the runner failed");
            self.deployer.give_up(&work.claim, &error, &signal).await;
        }
        stopper.abort();
        self.folder.empty();
    }
}
