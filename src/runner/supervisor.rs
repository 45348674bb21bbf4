//! The process between a runner and its command. It outlives a killed runner until it has stopped everything that the
//! command started. So nothing of a deployment keeps running after the server considers its runner lost.
//!
//! ```text
//! runner ── supervisor ── command ── …
//!    └ holds its standard input, which ends with the runner; reads from its standard output how the command ended.
//!      Its standard error is the log.
//! ```

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Pid;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::processes::{adopt_orphans, reap_orphans, stop_all};

/// The name of the command that is this process.
pub(super) const COMMAND: &str = "supervise";
/// How often orphans that have ended are looked for.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// What became of a command.
#[derive(Debug)]
pub(super) enum Outcome {
    Ended(ExitStatus),
    NotStarted(io::Error),
}

impl Outcome {
    fn line(&self) -> String {
        match self {
            Self::Ended(status) => format!("ended {}", status.into_raw()),
            Self::NotStarted(error) => format!("failed {}", error.raw_os_error().unwrap_or(0)),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let (kind, number) = line.split_once(' ')?;
        let number = number.parse().ok()?;
        match kind {
            "ended" => Some(Self::Ended(ExitStatus::from_raw(number))),
            "failed" => Some(Self::NotStarted(io::Error::from_raw_os_error(number))),
            _ => None,
        }
    }

    /// What a supervisor that has ended has said.
    pub(super) fn of(supervisor: &mut Child) -> io::Result<Self> {
        let mut line = String::new();
        if let Some(said) = &mut supervisor.stdout {
            said.read_to_string(&mut line)?;
        }
        Self::parse(&line).ok_or_else(|| io::Error::other("its supervisor was killed"))
    }
}

/// Runs a command to its end, or stops it when the runner is gone. It is called in a process of its own.
pub async fn supervise(words: &[OsString]) -> io::Result<()> {
    adopt_orphans()?;
    let runner = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    let outcome = match start(words) {
        Ok(mut child) => tokio::select! {
            status = watch(&mut child) => Outcome::Ended(status?),
            () = end_of(&runner) => {
                stop_all().await;
                return Ok(());
            }
        },
        Err(error) => Outcome::NotStarted(error),
    };
    // If the runner is gone by now, nobody wants to know.
    io::stdout().write_all(outcome.line().as_bytes())
}

/// In a group of its own, since a script may send signals to all of its group.
fn start(words: &[OsString]) -> io::Result<Child> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let output = io::stderr().as_fd().try_clone_to_owned()?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        // One pipe for both, so that lines stay in the order in which they were written.
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()
}

async fn watch(child: &mut Child) -> io::Result<ExitStatus> {
    let command = Pid::from_child(child);
    let ending = await_end(child);
    tokio::pin!(ending);
    loop {
        tokio::select! {
            status = &mut ending => return status,
            () = sleep(REAP_EVERY) => reap_orphans(Some(command)),
        }
    }
}

/// Nothing is ever sent: what can be read is the end.
async fn end_of(runner: &pipe::Receiver) {
    // What cannot be watched is taken for gone.
    let _ = runner.readable().await;
}

/// Waits until a child has ended. May be given up, and called again.
pub async fn await_end(child: &mut Child) -> io::Result<ExitStatus> {
    // Before the first look, so that no end is missed.
    let mut ends = signal(SignalKind::child())?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        ends.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_read_as_it_is_said() {
        for status in [0, 3 << 8, 9] {
            let outcome = Outcome::Ended(ExitStatus::from_raw(status));
            let read = Outcome::parse(&outcome.line()).unwrap();
            assert!(matches!(read, Outcome::Ended(read) if read.into_raw() == status));
        }
        let outcome = Outcome::NotStarted(io::Error::from_raw_os_error(2));
        let read = Outcome::parse(&outcome.line()).unwrap();
        assert!(matches!(read, Outcome::NotStarted(error) if error.raw_os_error() == Some(2)));
        assert!(Outcome::parse("").is_none() && Outcome::parse("ended x").is_none());
    }
}
