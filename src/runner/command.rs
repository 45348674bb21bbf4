//! The operator's command: what it is given, how it is started and stopped.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, PipeReader};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::Pid;
use tokio::net::unix::pipe;

use super::fetch::Fetched;
use super::supervisor::COMMAND;
use super::work::JobFolder;
use crate::wire::runner::Claim;

/// Where programs are looked for if the runner has no folder for that.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// The variable with the path of the file of variables.
const VARIABLES_FILE: &str = "WAYSTATION_VARIABLES";

/// The command line, with a program that no archive can take the place of.
#[derive(Clone, Debug)]
pub struct DeployCommand {
    program: PathBuf,
    arguments: Vec<OsString>,
    /// `PATH` as the command sees it.
    search_path: OsString,
}

impl DeployCommand {
    /// A program that is named by a path is the one below the current folder, not one in the tree that is deployed.
    /// For the same reason folders of `path` that are not absolute do not count.
    pub fn new(words: &[OsString], path: &OsStr) -> io::Result<Self> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let is_path = program.as_bytes().contains(&b'/');
        let program = if is_path {
            std::path::absolute(program)?
        } else {
            program.into()
        };
        let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
        let search_path = std::env::join_paths(folders).unwrap_or_default();
        // An empty one would be taken for the current folder, which is the tree that is deployed.
        let is_nowhere = search_path.is_empty();
        Ok(Self {
            program,
            arguments: arguments.to_vec(),
            search_path: if is_nowhere {
                USUAL_PATH.into()
            } else {
                search_path
            },
        })
    }

    /// Starts it on what was unpacked, below a supervisor. It sees the variables that are listed here, and no other:
    /// those of users are in a file, since `BASH_ENV` or `LD_PRELOAD` would run code as the operator.
    pub(super) fn start(
        &self,
        claim: &Claim,
        job: &JobFolder,
        fetched: Fetched,
    ) -> io::Result<Running> {
        let (output, end) = io::pipe()?;
        let deployment = &claim.deployment;
        let git_ref = deployment.git_ref.as_deref().unwrap_or_default();
        // This very program, even if its file has been replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(COMMAND)
            .arg("--")
            .arg(&self.program)
            .args(&self.arguments)
            .current_dir(job.tree())
            .env_clear()
            .env("PATH", &self.search_path)
            .env("HOME", &job.home)
            .env("SOURCE_VERSION", git_ref)
            .env("WAYSTATION_APP", &claim.app.name)
            .env("WAYSTATION_APP_ID", &claim.app.id)
            .env("WAYSTATION_DEPLOYMENT", &deployment.id)
            .env("WAYSTATION_GIT_REF", git_ref)
            .env("WAYSTATION_USER", &deployment.pusher.username)
            .env("WAYSTATION_ARCHIVE", job.archive())
            .env("WAYSTATION_ARCHIVE_SHA256", fetched.sha256.to_string())
            .env("WAYSTATION_SOURCE_URL", &claim.source_url)
            .env("WAYSTATION_REPORT_URL", &claim.report_url)
            .env(VARIABLES_FILE, job.variables())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(end)
            // Ctrl-C at a terminal is for the runner, which then stops the command.
            .process_group(0);
        Running::of(command.spawn()?, output)
    }
}

/// The variables of an application as lines of `NAME=value`, and the names of those that no line can hold.
pub(super) fn variable_lines(claim: &Claim) -> (String, Vec<&str>) {
    let mut lines = String::new();
    let mut left_out = Vec::new();
    for (name, value) in &claim.variables {
        if value.contains(['\n', '\r', '\0']) {
            left_out.push(name.as_str());
        } else {
            writeln!(lines, "{name}={value}").expect("writing to a String does not fail");
        }
    }
    (lines, left_out)
}

/// How the variables begin that show whose deployment a process is of: one of a runner with this folder.
pub(super) fn mark_of(jobs: &Path) -> Vec<u8> {
    let mark = [
        VARIABLES_FILE.as_bytes(),
        b"=",
        jobs.as_os_str().as_bytes(),
        b"/",
    ];
    mark.concat()
}

/// A command that runs, and what it prints.
pub(super) struct Running {
    /// It takes the end of its standard input for ours.
    supervisor: Child,
    pub(super) output: pipe::Receiver,
}

impl Running {
    pub(super) fn of(supervisor: Child, output: PipeReader) -> io::Result<Self> {
        let output = pipe::Receiver::from_owned_fd(output.into())?;
        Ok(Self { supervisor, output })
    }

    /// What it has started is below this one.
    pub(super) fn supervisor(&self) -> Pid {
        Pid::from_child(&self.supervisor)
    }

    pub(super) const fn parts(&mut self) -> (&pipe::Receiver, &mut Child) {
        (&self.output, &mut self.supervisor)
    }
}

/// How a command ended, as a log says it.
pub(super) fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("the command ended with exit code {code}"),
        (None, Some(signal)) => format!("the command was ended by signal {signal}"),
        (None, None) => "the command ended".to_owned(),
    }
}

/// What a program is called in an error.
pub(super) fn not_started(command: &DeployCommand, error: &io::Error) -> String {
    let program: &Path = &command.program;
    format!("the runner cannot start {}: {error}", program.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_in_absolute_folders_alone() {
        for (path, searched) in [
            ("/opt/bin:.:bin:/bin", "/opt/bin:/bin"),
            (".:", USUAL_PATH),
            ("", USUAL_PATH),
        ] {
            let command = DeployCommand::new(&["deploy".into()], OsStr::new(path)).unwrap();
            assert_eq!(command.search_path, searched, "{path}");
        }
    }
}
