//! The real curl, run to its end or held in the middle of a transfer.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::program::{Killed, without_settings};
use crate::reply::Reply;

/// How long one curl may take, in seconds; the largest transfers need most of it on a slow machine.
const MAX_SECONDS: &str = "300";

/// Runs curl, and returns the final answer with what `-v` prints in its trace. The answer's body is
/// empty where the arguments send it elsewhere.
pub fn curl(arguments: &[&str]) -> Reply {
    let output = command().arg("-v").args(arguments).output().unwrap();
    let trace = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{trace}");
    reply_of(&output.stdout, trace)
}

/// With `-D -` the heads come on standard output, and the body after them unless it goes elsewhere.
fn command() -> Command {
    // No ~/.curlrc: this has to be first.
    let mut command = without_settings("curl");
    command.args(["-q", "-sS", "--max-time", MAX_SECONDS, "-D", "-"]);
    command
}

fn reply_of(output: &[u8], trace: String) -> Reply {
    let reply = Reply::parse(output).or_else(|| Reply::parse_head(output));
    let Some((reply, _)) = reply else {
        panic!("no answer came: {trace}");
    };
    Reply { trace, ..reply }
}

/// An upload by curl that goes on only as the test gives it bytes: a slow client, but one whose pace
/// is not left to chance.
pub struct HeldUpload {
    curl: Killed,
    pipe: ChildStdin,
}

impl HeldUpload {
    pub fn start(url: &str) -> Self {
        Self::start_with(&[], url)
    }

    /// Starts it with more arguments for curl.
    pub fn start_with(arguments: &[&str], url: &str) -> Self {
        let mut command = command();
        command.args(arguments);
        command.args(["-T", "-", url]).stdin(Stdio::piped());
        let mut curl = spawn(&mut command);
        let pipe = curl.stdin.take().unwrap();
        Self {
            curl: Killed(curl),
            pipe,
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.pipe.write_all(bytes).unwrap();
    }

    /// Ends the body, and waits for the answer.
    pub fn finish(self) -> Reply {
        let Self { mut curl, pipe } = self;
        drop(pipe);
        let output = read_all(&mut curl.0.stdout.take().unwrap());
        reply_of(&output, String::new())
    }
}

/// A download by curl that goes on only as the test takes its bytes. The archive has to be larger
/// than what the system keeps on the way, or the server is done before the test is.
pub struct HeldDownload {
    curl: Killed,
    pipe: ChildStdout,
    taken: Vec<u8>,
}

/// More than what a connection of the machine with itself buffers.
pub const HELD_ARCHIVE_BYTES: usize = 32 * 1024 * 1024;

impl HeldDownload {
    /// Starts it, and waits until bytes have come.
    pub fn start(url: &str) -> Self {
        Self::start_with(&[], url)
    }

    /// Starts it with more arguments for curl.
    pub fn start_with(arguments: &[&str], url: &str) -> Self {
        let mut curl = spawn(command().args(arguments).arg(url));
        let mut pipe = curl.stdout.take().unwrap();
        let mut taken = vec![0; 1024];
        pipe.read_exact(&mut taken).unwrap();
        Self {
            curl: Killed(curl),
            pipe,
            taken,
        }
    }

    /// Takes the rest, and returns the answer.
    pub fn finish(self) -> Reply {
        let Self {
            mut curl,
            mut pipe,
            mut taken,
        } = self;
        taken.extend(read_all(&mut pipe));
        assert!(curl.0.wait().unwrap().success());
        reply_of(&taken, String::new())
    }
}

fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).spawn().unwrap()
}

fn read_all(pipe: &mut ChildStdout) -> Vec<u8> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).unwrap();
    bytes
}
