//! Real runners: the program itself, with a token and a work folder.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::program::waystation;
use crate::tarball::Tarball;

/// Writes a token for runners to where only its owner reads it.
pub fn write_token(path: &Path, token: &str) {
    let mut file = fs::OpenOptions::new();
    let file = file.write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(token.as_bytes()).unwrap();
}

/// A runner that is not started yet; flags, `--` and its command are to follow.
pub fn runner_of(server: &str, token_file: &Path, work_dir: &Path) -> Command {
    let mut command = waystation(&["runner", "--server", server, "--token-file"]);
    command.arg(token_file).arg("--work-dir").arg(work_dir);
    command
}

/// An archive that a runner unpacks.
pub fn app() -> Vec<u8> {
    Tarball::new()
        .file("app/index.html", b"hello\n")
        .file("app/lib/a", b"1")
        .end()
}

/// Does a process run? One that has ended and is not reaped does not.
pub fn is_running(id: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// The processes that are children of one.
pub fn children_of(parent: u32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let children = entries.filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut words = stat.rsplit_once(") ")?.1.split(' ');
        let is_child = words.nth(1)? == parent.to_string();
        is_child.then_some(id)
    });
    children.collect()
}

/// Kills one by its id.
pub fn kill(id: i32) {
    kill_process(Pid::from_raw(id).unwrap(), Signal::KILL).unwrap();
}

/// A file by which a test lets a command of a runner's go on, and what a shell does to wait for it.
pub struct Gate(PathBuf);

impl Gate {
    pub fn new(room: &Path) -> Self {
        Self(room.join("go-on"))
    }

    pub fn wait(&self) -> String {
        format!("while ! test -e {}; do sleep 0.02; done", self.0.display())
    }

    pub fn open(&self) {
        fs::write(&self.0, "").unwrap();
    }
}
