//! A server that was started here: what it uses, and its end, in whatever way this program ends.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs the command for as long as its own input is held open, which the system closes with us. First
/// it prints the number of the process. A master may need a moment to end its workers. What the server
/// leaves elsewhere goes with it: `$LEAVES`, patterns.
const GUARD: &str = r#"
out=$1 log=$2
shift 2
"$@" </dev/null >"$out" 2>"$log" &
server=$!
echo "$server"
trap : HUP INT TERM
read -r _
kill -TERM "$server" 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
kill -9 "$server" 2>/dev/null
rm -f $LEAVES
"#;

/// Of the system's counters; the same on all of Linux's usual machines.
const TICKS_PER_SECOND: f64 = 100.0;

pub(crate) struct Process {
    guard: Child,
    pid: u32,
}

impl Process {
    /// Starts `command` in `folder`, where `out` and `log` take what it says.
    pub(crate) fn start(folder: &Path, command: &[String]) -> Self {
        Self::start_leaving(folder, command, "")
    }

    /// Starts a server that leaves files elsewhere, with names of these patterns.
    pub(crate) fn start_leaving(folder: &Path, command: &[String], leaves: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "sh", "out", "log"])
            .args(command)
            .current_dir(folder)
            // Neither the developer's own settings, nor their credentials.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder)
            .env("LEAVES", leaves)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut told = BufReader::new(guard.stdout.take().unwrap());
        told.read_line(&mut line).unwrap();
        Self {
            guard,
            pid: line.trim().parse().unwrap(),
        }
    }

    /// Seconds that it and its workers have kept a core busy.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let ticks: f64 = self.pids().iter().map(|pid| ticks_of(*pid)).sum();
        ticks / TICKS_PER_SECOND
    }

    /// The most memory that it has had at once, in bytes.
    pub(crate) fn peak_memory_bytes(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.unwrap().parse::<f64>().unwrap() * 1024.0
    }

    fn pids(&self) -> Vec<u32> {
        let pid = self.pid;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
        [pid].into_iter().chain(children).collect()
    }
}

fn ticks_of(pid: u32) -> f64 {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        panic!("a server has ended by itself; its log is below target/bench");
    };
    // The name in parentheses may have spaces.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<_> = fields.split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    ticks(11) + ticks(12)
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// An address that was free just now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Empties a folder, or makes it.
pub(crate) fn empty(folder: &Path) {
    if folder.exists() {
        fs::remove_dir_all(folder).unwrap();
    }
    fs::create_dir_all(folder).unwrap();
}

/// Has everything written to the file system of `folder`, so that no measurement pays for another.
pub(crate) fn settle(folder: &Path) {
    rustix::fs::syncfs(File::open(folder).unwrap()).unwrap();
}
