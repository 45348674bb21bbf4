//! The signals that stop a command that would run forever.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CliError;

pub(super) fn listen_for(kind: SignalKind) -> Result<Signal, CliError> {
    signal(kind).map_err(CliError::Signals)
}

/// The signals that stop a server or a runner.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, CliError> {
        // These end a process that has never listened for them: terminals and log rotations send them, and the
        // system does where a file may not grow (ulimit -f). The write then fails, and only that.
        for kind in [
            SignalKind::hangup(),
            SignalKind::quit(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
            SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()),
        ] {
            drop(listen_for(kind)?);
        }
        Ok(Self {
            terminate: listen_for(SignalKind::terminate())?,
            interrupt: listen_for(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Works until a signal says that nobody wants it any more. What is half done goes with the work.
pub(super) async fn until_interrupted(
    work: impl Future<Output = Result<(), CliError>>,
) -> Result<(), CliError> {
    let mut interrupt = listen_for(SignalKind::interrupt())?;
    let mut terminate = listen_for(SignalKind::terminate())?;
    let mut hangup = listen_for(SignalKind::hangup())?;
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => Err(CliError::Interrupted),
        _ = terminate.recv() => Err(CliError::Interrupted),
        _ = hangup.recv() => Err(CliError::Interrupted),
    }
}
