//! One deployment, from its claim to its end.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytesize::ByteSize;
use rustix::process::Signal;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::command::{DeployCommand, Running, ending, not_started, variable_lines};
use super::fetch::{Fetched, Fetcher};
use super::foreign::ForeignRules;
use super::output::{LogWriter, log_to};
use super::processes::{LOOK_AGAIN, STOP_GRACE, end_all, signal_below};
use super::secret_mask::SecretMask;
use super::server::{Server, StatusReply, Work};
use super::stop_reason::{StopReason, StopSignal};
use super::supervisor::{Outcome, await_end};
use super::work::{JobFolder, create_private};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::deployment::Status;
use crate::error_chain::chain;
use crate::pack::{UnpackLimits, unpack};
use crate::secret::Secret;
use crate::wire::runner::Claim;

/// How often to kill what still runs after that.
const KILL_AGAIN: Duration = Duration::from_secs(1);
/// How long a pipe may stay open when all that a command has started have ended.
const LAST_OUTPUT: Duration = Duration::from_secs(5);
/// How long to try to report that a deployment cannot be run at all.
const GIVE_UP: Duration = Duration::from_mins(1);
/// How long the server may take to hear of the end of a runner that is to end itself.
const LAST_REPORT: Duration = Duration::from_secs(3);

/// What a runner does with each deployment.
pub(super) struct Deployer {
    pub(super) server: Server,
    pub(super) token: Secret,
    pub(super) command: DeployCommand,
    pub(super) foreign: ForeignRules,
    pub(super) archive_bytes: u64,
    pub(super) unpack: UnpackLimits,
}

/// How a deployment ended, and why, where there is more to say.
struct End {
    status: Status,
    reason: Option<String>,
}

impl End {
    fn of(status: Status, reason: impl Into<String>) -> Self {
        let reason = Some(reason.into());
        Self { status, reason }
    }

    fn failed(reason: impl Into<String>) -> Self {
        Self::of(Status::BuildError, reason)
    }
}

impl Deployer {
    /// Runs one. It has ended at the server when this returns, or the server has given it up.
    pub(super) async fn run(
        &self,
        work: &Work,
        job: &JobFolder,
        signal: &StopSignal,
        stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let Work { claim, time_limit } = work;
        if !self.confirm(claim, signal).await {
            return Ok(());
        }
        let (mut log, sender) = log_to(
            create_private(&job.log())?,
            claim.log_limit_bytes,
            self.secret_mask(claim),
        );
        let sender = sender.send(
            self.server.clone(),
            claim.report_url.clone(),
            signal.clone(),
        );
        let mut sender = tokio::spawn(sender);
        let (at_deadline, time_limit) = (signal.clone(), *time_limit);
        let deadline = tokio::spawn(async move {
            sleep(time_limit).await;
            at_deadline.stop(StopReason::Deadline);
        });
        let end = self.deploy(work, job, &mut log, signal).await;
        deadline.abort();
        if let Some(reason) = &end.reason {
            log.line(reason)?;
        }
        log.finish()?;
        drop(log);
        let reported = async {
            // It ends by itself, and its panic is in the log.
            let _ = (&mut sender).await;
            self.report(claim, end, signal).await;
        };
        tokio::select! {
            () = reported => {}
            // The server may be away for longer than a shutdown may take.
            () = long_after(stop) => sender.abort(),
        }
        Ok(())
    }

    /// Reports that the runner itself has failed, by no fault of the archive.
    pub(super) async fn give_up(&self, claim: &Claim, error: &io::Error, signal: &StopSignal) {
        let end = End::failed(format!("the runner failed: {error}"));
        let reported = self.report(claim, end, signal);
        // By then the server has given it up as well.
        let _ = timeout(GIVE_UP, reported).await;
    }

    /// Tells the server that its work has arrived. Nothing may be started before it has answered.
    async fn confirm(&self, claim: &Claim, signal: &StopSignal) -> bool {
        let mut backoff = Backoff::between(Duration::from_millis(200), Duration::from_secs(2));
        while signal.reason().is_none() {
            match self
                .server
                .report(&claim.report_url, Status::Building, None)
                .await
            {
                Ok(StatusReply::Taken(answer)) => {
                    if answer.cancel {
                        signal.stop(StopReason::Cancelled);
                    }
                    return true;
                }
                Ok(StatusReply::Backwards | StatusReply::Over) => return false,
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "cannot confirm a claim; trying again"
                    );
                    backoff.wait().await;
                }
            }
        }
        false
    }

    fn secret_mask(&self, claim: &Claim) -> SecretMask {
        let after_last = |url: &str, mark: char| {
            let part = url.rsplit_once(mark).map(|(_, part)| part.to_owned());
            part.unwrap_or_default()
        };
        // What opens our links is the last part of their path; those of others have it in the query, if at all.
        let mark = if claim.deployment.source.host.is_some() {
            '?'
        } else {
            '/'
        };
        let secrets = [
            claim.source_url.clone(),
            after_last(&claim.source_url, mark),
            claim.report_url.clone(),
            after_last(&claim.report_url, '/'),
        ];
        SecretMask::of(
            secrets
                .map(Secret::new)
                .into_iter()
                .chain([self.token.clone()]),
        )
    }

    async fn deploy(
        &self,
        work: &Work,
        job: &JobFolder,
        log: &mut LogWriter,
        signal: &StopSignal,
    ) -> End {
        let claim = &work.claim;
        let fetched = tokio::select! {
            fetched = self.fetch(claim, job) => fetched,
            stopped = signal.wait() => return self.stopped(stopped, work).await,
        };
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(reason) => return End::failed(reason),
        };
        if let Err(reason) = self.unpack(job, fetched, log, signal).await {
            return match signal.reason() {
                Some(stopped) => self.stopped(stopped, work).await,
                None => End::failed(reason),
            };
        }
        if let Err(error) = write_variables(claim, job, log) {
            return End::failed(format!("the runner cannot write the variables: {error}"));
        }
        let running = match self.command.start(claim, job, fetched) {
            Ok(running) => running,
            Err(error) => return End::failed(not_started(&self.command, &error)),
        };
        match (follow(running, log, signal).await, signal.reason()) {
            (Err(error), _) => End::failed(format!(
                "the runner can no longer watch the command: {error}"
            )),
            (Ok(followed), Some(stopped)) if followed.is_stopped => {
                self.stopped(stopped, work).await
            }
            (Ok(followed), _) => match followed.outcome {
                Outcome::Ended(status) => self.ended(claim, status).await,
                Outcome::NotStarted(error) => End::failed(not_started(&self.command, &error)),
            },
        }
    }

    async fn fetch(&self, claim: &Claim, job: &JobFolder) -> Result<Fetched, String> {
        let file = create_private(&job.archive());
        let mut file =
            file.map_err(|error| format!("the runner cannot write the archive: {error}"))?;
        let archives = Fetcher {
            server: &self.server,
            foreign: &self.foreign,
            limit_bytes: self.archive_bytes,
        };
        let fetched = archives.fetch(claim, &mut file).await;
        fetched.map_err(|error| chain(&error))
    }

    /// Unpacks on another thread, which stops when it should.
    async fn unpack(
        &self,
        job: &JobFolder,
        fetched: Fetched,
        log: &mut LogWriter,
        signal: &StopSignal,
    ) -> Result<(), String> {
        let (path, tree, limits) = (job.archive(), job.tree(), self.unpack);
        let stop = Arc::new(AtomicBool::new(false));
        let archive =
            File::open(path).map_err(|error| format!("the archive cannot be read: {error}"))?;
        let archive = Stoppable {
            file: archive,
            stop: Arc::clone(&stop),
        };
        let mut unpacking =
            spawn_blocking(move || unpack(archive, &tree, limits, Clock::System.now()));
        let unpacked = tokio::select! {
            unpacked = &mut unpacking => unpacked,
            _ = signal.wait() => {
                stop.store(true, Ordering::Relaxed);
                unpacking.await
            }
        };
        let unpacked = unpacked.map_err(|_| "the archive cannot be unpacked".to_owned())?;
        let unpacked = unpacked.map_err(|error| chain(&error))?;
        if signal.reason().is_some() {
            return Err(String::new());
        }
        let size = |bytes| ByteSize(bytes).display().iec().to_string();
        let mut lines = vec![format!(
            "unpacked {} entries, {}, from an archive of {}",
            unpacked.entries,
            size(unpacked.bytes),
            size(fetched.bytes)
        )];
        if !unpacked.is_lifted {
            lines.push(
                "warning: the archive has no single folder at its root, so its root is deployed"
                    .to_owned(),
            );
        }
        let logged = lines.iter().try_for_each(|line| log.line(line));
        logged.map_err(|error| format!("the runner cannot write the log: {error}"))
    }

    /// How it ended, from the exit of its command.
    async fn ended(&self, claim: &Claim, status: ExitStatus) -> End {
        if status.success() {
            return End {
                status: Status::Success,
                reason: None,
            };
        }
        let ended = self.unless_building(claim, Status::CrashedError).await;
        End::of(ended, ending(status))
    }

    /// How it ended, where it was stopped.
    async fn stopped(&self, reason: StopReason, work: &Work) -> End {
        let aborted = |why| End::of(Status::Aborted, why);
        match reason {
            StopReason::Cancelled => aborted("cancelled"),
            StopReason::Lost => aborted("the server has given it up"),
            StopReason::ShutDown => aborted("the runner was shut down"),
            StopReason::Deadline => {
                let timeout = Status::TimeoutError;
                let ended = self.unless_building(&work.claim, timeout).await;
                let limit = humantime::format_duration(work.time_limit);
                End::of(
                    ended,
                    format!("it took longer than {limit}, and was stopped"),
                )
            }
        }
    }

    /// `end`, if the command has reported that it is starting what it has built; else it has not been built. The server
    /// knows: no state goes back.
    async fn unless_building(&self, claim: &Claim, end: Status) -> Status {
        for earlier in [Status::Building, Status::Pushing] {
            let reported = self.server.report(&claim.report_url, earlier, None);
            if !matches!(reported.await, Ok(StatusReply::Backwards)) {
                return Status::BuildError;
            }
        }
        end
    }

    /// Reports the end until the server has it, or has another.
    async fn report(&self, claim: &Claim, end: End, signal: &StopSignal) {
        let mut backoff = Backoff::between(Duration::from_millis(200), Duration::from_secs(5));
        while signal.reason() != Some(StopReason::Lost) {
            let reported = self
                .server
                .report(&claim.report_url, end.status, end.reason.clone());
            match reported.await {
                Ok(_) => {
                    tracing::info!(
                        deployment = claim.deployment.id,
                        app = claim.app.name,
                        status = end.status.name(),
                        "a deployment ended"
                    );
                    return;
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "cannot report an end; trying again");
                    backoff.wait().await;
                }
            }
        }
    }
}

/// Waits until the runner is to end, and then until the server has had its time.
async fn long_after(mut stop: watch::Receiver<bool>) {
    // If nobody can say so any more, nobody waits for it either.
    let _ = stop.wait_for(|stop| *stop).await;
    sleep(LAST_REPORT).await;
}

/// All are in a file of JSON; those that a line can hold in one of lines as well, which is what container engines read.
fn write_variables(claim: &Claim, job: &JobFolder, log: &mut LogWriter) -> io::Result<()> {
    let (lines, left_out) = variable_lines(claim);
    create_private(&job.variables())?.write_all(lines.as_bytes())?;
    let json = serde_json::to_vec(&claim.variables)?;
    create_private(&job.variables_as_json())?.write_all(&json)?;
    for name in left_out {
        log.line(&format!(
            "warning: the variable {name} has several lines, so it is not in the file of lines, only in the one of JSON beside it"
        ))?;
    }
    Ok(())
}

/// How a command ended.
struct CommandEnd {
    outcome: Outcome,
    /// It was stopped by the runner.
    is_stopped: bool,
}

/// Logs what a command prints until it has ended. In any case, nothing that it started runs after that.
async fn follow(
    mut running: Running,
    log: &mut LogWriter,
    signal: &StopSignal,
) -> io::Result<CommandEnd> {
    let mut kill_at = None;
    let outcome = watch(&mut running, log, signal, &mut kill_at).await;
    // What is left when a command has ended by itself is not wanted.
    let grace = kill_at.map_or(Duration::ZERO, |at| {
        Instant::saturating_duration_since(&at, Instant::now())
    });
    if !end_all(grace).await {
        tracing::error!("processes of a deployment cannot be killed");
    }
    let outcome = outcome?;
    // Somebody who is no descendant may hold the pipe open.
    match timeout(LAST_OUTPUT, copy_output(&running.output, log)).await {
        Ok(copied) => copied?,
        Err(_) => {
            tracing::warn!(
                "the output of a command is held open by a process that is not below it"
            );
        }
    }
    let is_stopped = kill_at.is_some();
    Ok(CommandEnd {
        outcome,
        is_stopped,
    })
}

/// Waits for the end of a command. If it is to stop, it gets SIGTERM, some time, and SIGKILL.
async fn watch(
    running: &mut Running,
    log: &mut LogWriter,
    signal: &StopSignal,
    kill_at: &mut Option<Instant>,
) -> io::Result<Outcome> {
    let mut is_open = true;
    let id = running.supervisor();
    let (output, supervisor) = running.parts();
    loop {
        tokio::select! {
            copied = copy_output(output, log), if is_open => {
                copied?;
                is_open = false;
            }
            ended = await_end(supervisor) => {
                ended?;
                return Outcome::of(supervisor);
            }
            _ = signal.wait(), if kill_at.is_none() => {
                // A supervisor that has not started the command yet is about to, and would not know.
                if signal_below(id, Signal::TERM) {
                    *kill_at = Some(Instant::now() + STOP_GRACE);
                } else {
                    sleep(LOOK_AGAIN).await;
                }
            }
            () = sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => {
                signal_below(id, Signal::KILL);
                *kill_at = Some(Instant::now() + KILL_AGAIN);
            }
        }
    }
}

/// Logs what is printed until nobody is left who could print. May be cut off between two pieces.
async fn copy_output(output: &pipe::Receiver, log: &mut LogWriter) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        output.readable().await?;
        match output.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => log.write(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        // A command that prints without end does not keep its runner from all else.
        tokio::task::consume_budget().await;
    }
}

/// An archive that cannot be read any more once it is to stop.
struct Stoppable {
    file: File,
    stop: Arc<AtomicBool>,
}

impl Read for Stoppable {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        self.file.read(buf)
    }
}

impl Seek for Stoppable {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};

    use futures_util::poll;

    use super::*;

    /// It starts its command when it reads a line.
    const SLOW_SUPERVISOR: &str = r"read -r line; sleep 60; printf 'ended %d' $(($? - 128))";

    #[tokio::test]
    async fn a_command_that_starts_after_its_deployment_was_cancelled_is_told_to_stop() {
        let (output, end) = io::pipe().unwrap();
        let mut supervisor = Command::new("sh")
            .args(["-c", SLOW_SUPERVISOR])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(end)
            .spawn()
            .unwrap();
        let mut start = supervisor.stdin.take().unwrap();
        let mut running = Running::of(supervisor, output).unwrap();
        let (mut log, _sender) = log_to(tempfile::tempfile().unwrap(), 1, SecretMask::of([]));
        let signal = StopSignal::new();
        signal.stop(StopReason::Cancelled);

        let mut kill_at = None;
        let mut watching = Box::pin(watch(&mut running, &mut log, &signal, &mut kill_at));
        assert!(poll!(watching.as_mut()).is_pending());
        start.write_all(b"start\n").unwrap();
        let outcome = watching.await.unwrap();
        let signal = match outcome {
            Outcome::Ended(status) => status.signal(),
            Outcome::NotStarted(_) => None,
        };
        assert_eq!(signal, Some(Signal::TERM.as_raw()));
    }
}
