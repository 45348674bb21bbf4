//! A program that runs: all it says is kept, and it never outlives its test.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::terminal::Terminal;
use crate::{PATIENCE, repository};

/// One that goes on saying something is waited for so long at most.
const LONGEST_WAIT: Duration = PATIENCE.saturating_mul(10);

/// A child that is killed, by its own id, when the test lets go of it.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Fails only for one that has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running program and what it has said.
pub struct Program {
    child: Killed,
    transcript: Arc<Transcript>,
}

impl Program {
    pub fn start(command: Command) -> Self {
        Self::start_keeping(command, usize::MAX)
    }

    /// Starts one whose standard output is a terminal, so that only standard error is kept.
    pub fn start_on(terminal: &Terminal, mut command: Command) -> Self {
        command.stdout(terminal.open());
        Self::keeping(command, usize::MAX)
    }

    /// Starts one that says so much that only its last lines can be kept.
    pub fn start_keeping(mut command: Command, lines: usize) -> Self {
        command.stdout(Stdio::piped());
        Self::keeping(command, lines)
    }

    fn keeping(mut command: Command, lines: usize) -> Self {
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        let transcript = Arc::new(Transcript::keeping(lines));
        if let Some(stdout) = child.stdout.take() {
            transcript.listen_to(Stream::Stdout, stdout);
        }
        transcript.listen_to(Stream::Stderr, child.stderr.take().unwrap());
        Self {
            child: Killed(child),
            transcript,
        }
    }

    /// Waits until the program has said a line with `part` in it, which may take as long as it goes on saying something.
    pub fn await_line(&self, part: &str) -> String {
        self.transcript.await_line(part)
    }

    /// Waits until the program has said a line with `part` in it; none if it ends without.
    pub fn await_line_or_end(&self, part: &str) -> Option<String> {
        self.transcript.await_line_or_end(part)
    }

    pub fn id(&self) -> u32 {
        self.child.0.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child.0), signal).unwrap();
    }

    pub fn kill(&mut self) {
        self.child.0.kill().unwrap();
        self.await_end();
    }

    /// Waits until the program has ended; its exit code, or none if a signal ended it.
    pub fn await_end(&mut self) -> Option<i32> {
        self.transcript.await_end();
        self.child.0.wait().unwrap().code()
    }

    pub fn stdout(&self) -> String {
        self.transcript.text_of(Stream::Stdout)
    }

    pub fn stderr(&self) -> String {
        self.transcript.text_of(Stream::Stderr)
    }

    /// The most memory that the program has had at once.
    pub fn peak_memory_kib(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.0.id());
        let status = std::fs::read_to_string(status).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let digits = peak.unwrap().trim().strip_suffix(" kB").unwrap();
        digits.parse().unwrap()
    }
}

impl Drop for Program {
    /// A failed test shows what the program said until then.
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}\n{}", self.stdout(), self.stderr());
        }
    }
}

/// What a program that has ended left.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program to its end.
pub fn run(command: Command) -> Ended {
    let mut program = Program::start(command);
    Ended {
        code: program.await_end(),
        stdout: program.stdout(),
        stderr: program.stderr(),
    }
}

/// The built program itself. What the developer has set for their own must not reach it.
pub fn waystation(arguments: &[&str]) -> Command {
    let mut command = without_settings(built().to_str().unwrap());
    command.args(arguments);
    command
}

/// Where the built program is. Cargo says so; a test program that is started without it looks beside itself.
pub fn built() -> PathBuf {
    let told = std::env::var_os("CARGO_BIN_EXE_waystation").map(PathBuf::from);
    told.unwrap_or_else(|| {
        let tests = std::env::current_exe().unwrap();
        tests.ancestors().nth(2).unwrap().join("waystation")
    })
}

/// Where `tests/tools/install` puts things.
pub fn tools() -> PathBuf {
    let tools = repository().join("target/tools");
    assert!(
        tools.join("bin").exists(),
        "run tests/tools/install first, as ./test does"
    );
    tools
}

/// A program that sees none of the settings that would change how it, or the server, behaves.
pub fn without_settings(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let upper = name.to_string_lossy().to_uppercase();
        let is_setting = ["WAYSTATION_", "AWS_"]
            .iter()
            .any(|start| upper.starts_with(start));
        if is_setting || upper.ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
    command
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

/// The lines of both streams, in the order of their arrival.
struct Transcript {
    most_lines: usize,
    told: Mutex<Told>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Told {
    lines: VecDeque<(Stream, String)>,
    open_streams: usize,
}

impl Transcript {
    fn keeping(most_lines: usize) -> Self {
        Self {
            most_lines,
            told: Mutex::default(),
            grown: Condvar::new(),
        }
    }

    fn listen_to(self: &Arc<Self>, stream: Stream, pipe: impl Read + Send + 'static) {
        self.note(|told| told.open_streams += 1);
        let transcript = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n') {
                let line = String::from_utf8_lossy(&line.unwrap()).into_owned();
                transcript.note(|told| {
                    told.lines.push_back((stream, line));
                    if told.lines.len() > transcript.most_lines {
                        told.lines.pop_front();
                    }
                });
            }
            transcript.note(|told| told.open_streams -= 1);
        });
    }

    fn note(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.lock());
        self.grown.notify_all();
    }

    /// A test that failed while it looked has changed nothing.
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn await_line(&self, part: &str) -> String {
        let line = self.await_line_or_end(part);
        line.unwrap_or_else(|| panic!("it never said '{part}'"))
    }

    fn await_line_or_end(&self, part: &str) -> Option<String> {
        let line_of = |told: &Told| {
            let mut lines = told.lines.iter().map(|(_, line)| line);
            lines.find(|line| line.contains(part)).cloned()
        };
        let told = self.wait_while(|told| told.open_streams > 0 && line_of(told).is_none());
        line_of(&told)
    }

    fn await_end(&self) {
        let told = self.wait_while(|told| told.open_streams > 0);
        assert_eq!(told.open_streams, 0, "it did not end");
    }

    /// Until a program is silent for so long that nothing more is to be expected: on a machine that has much else to do,
    /// one that takes many steps takes long.
    fn wait_while(&self, condition: impl Fn(&Told) -> bool) -> MutexGuard<'_, Told> {
        let started_at = Instant::now();
        let mut told = self.lock();
        while condition(&told) && started_at.elapsed() < LONGEST_WAIT {
            let (later, waited) = self.grown.wait_timeout(told, PATIENCE).unwrap();
            told = later;
            if waited.timed_out() {
                break;
            }
        }
        told
    }

    fn text_of(&self, stream: Stream) -> String {
        let told = self.lock();
        let lines = told.lines.iter().filter(|(of, _)| *of == stream);
        lines.flat_map(|(_, line)| [line.as_str(), "\n"]).collect()
    }
}
