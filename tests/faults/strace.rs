//! The system calls of the real program, as strace writes them, and its faults, as strace makes them.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::NamedTempFile;

use waystation_testing::program::{Program, tools, without_settings};

/// One system call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
    /// What a call that writes a lot writes, decoded once, in place of its second argument.
    data: Vec<u8>,
    /// What it returned; none if it never did.
    pub(crate) result: Option<i64>,
    /// When it was entered and left, as line numbers of the trace. Between the two it may have done
    /// its work or not.
    pub(crate) entered: usize,
    pub(crate) left: usize,
    /// It was made to fail.
    pub(crate) is_injected: bool,
}

impl Call {
    pub(crate) fn has_succeeded(&self) -> bool {
        self.result.is_some_and(|result| result >= 0)
    }

    /// All texts in an argument, one after the other.
    pub(crate) fn bytes(&self, index: usize) -> Vec<u8> {
        if index == 1 && !self.data.is_empty() {
            return self.data.clone();
        }
        bytes_in(&self.arguments[index])
    }

    /// The paths that it is about: those it names, and those of its file descriptors (`-y`).
    pub(crate) fn paths(&self) -> impl DoubleEndedIterator<Item = PathBuf> {
        let arguments = self.arguments.iter();
        arguments.filter_map(|argument| path_of_descriptor(argument).or_else(|| path_in(argument)))
    }

    /// The paths that it names. There is no relative one.
    pub(crate) fn named_paths(&self) -> Vec<PathBuf> {
        let arguments = self.arguments.iter();
        arguments.filter_map(|argument| path_in(argument)).collect()
    }

    /// The path of a file descriptor, if that is what the argument is, and it has one.
    pub(crate) fn path_of(&self, index: usize) -> Option<PathBuf> {
        path_of_descriptor(&self.arguments[index])
    }

    /// An argument that is a number.
    pub(crate) fn number(&self, index: usize) -> usize {
        self.arguments[index].parse().unwrap()
    }

    pub(crate) fn has_flag(&self, index: usize, flag: &str) -> bool {
        self.arguments.get(index).is_some_and(|flags| {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            flags.split(|c| !is_word(c)).any(|word| word == flag)
        })
    }
}

fn path_of_descriptor(argument: &str) -> Option<PathBuf> {
    let (_, path) = argument.split_once('<')?;
    // Another file may have its name now.
    let is_deleted = path.ends_with("(deleted)");
    (!is_deleted).then(|| path_spelled(path))
}

fn path_in(argument: &str) -> Option<PathBuf> {
    argument.strip_prefix('"').map(path_spelled)
}

fn path_spelled(text: &str) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&unescaped(text)))
}

/// The bytes that `-xx` spells. A text that was cut short would end in dots.
fn bytes_in(argument: &str) -> Vec<u8> {
    assert!(!argument.contains("\"..."), "a text was cut short");
    let quoted = argument.split('"').skip(1).step_by(2);
    quoted.flat_map(unescaped).collect()
}

/// Whole groups of four: `\\x` and two digits. What closes the text is left over.
fn unescaped(text: &str) -> Vec<u8> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.wrapping_sub(b'a').wrapping_add(10),
    };
    let groups = text.as_bytes().chunks_exact(4);
    groups
        .map(|group| (value(group[2]) << 4) | (value(group[3]) & 15))
        .collect()
}

/// Calls that change nothing that a power cut could take, and are made all the time. All others are
/// traced, so that one that nobody thought of is noticed.
const HARMLESS: &str = "futex,epoll_wait,epoll_pwait,epoll_ctl,epoll_create1,read,pread64,preadv,\
    preadv2,readv,recvfrom,recvmsg,statx,newfstatat,fstat,stat,lstat,statfs,fstatfs,getdents64,access,\
    faccessat,faccessat2,readlink,readlinkat,poll,ppoll,mprotect,munmap,mremap,brk,madvise,membarrier,\
    sched_yield,sched_getaffinity,rt_sigaction,rt_sigprocmask,rt_sigreturn,sigaltstack,clone,clone3,\
    set_robust_list,set_tid_address,rseq,prctl,getrandom,clock_nanosleep,clock_gettime,gettid,getpid,\
    getuid,geteuid,getgid,getegid,tgkill,exit,exit_group,prlimit64,arch_prctl,uname,sysinfo,\
    getsockname,getpeername,getsockopt,setsockopt,bind,listen,eventfd2,restart_syscall,fadvise64,\
    getcwd,umask,wait4,ioctl,vfork,getppid,getpgrp,sigreturn";

/// Lets the calls of a program be written to `output`, all data included. The program is the child of
/// who starts the command, as without; strace ends with it.
pub(crate) fn traced(command: &Command, output: &Path, more: &[&str]) -> Command {
    let trace = format!("trace=!{HARMLESS}");
    let arguments = ["--seccomp-bpf", "-y", "-s", "67108864", "-e", &trace];
    below(command, output, &[&arguments[..], more].concat())
}

/// Starts a program with strace looking on.
pub(crate) fn below(command: &Command, output: &Path, arguments: &[&str]) -> Command {
    let mut strace = strace();
    strace.args(["-D", "-f", "-qq", "-xx", "-e", "signal=none"]);
    strace.arg("-o").arg(output).args(arguments);
    // What the command may not see in its environment strace does not see either.
    strace.arg("--").arg(command.get_program());
    strace.args(command.get_args().map(OsString::from));
    strace
}

/// A program that runs, and strace looking on.
pub(crate) struct Attached {
    strace: Program,
    output: NamedTempFile,
}

impl Attached {
    /// Begins to look at all threads of a program. Paths are shown.
    pub(crate) fn to(program: &Program, arguments: &[&str]) -> Self {
        let output = NamedTempFile::new().unwrap();
        let mut command = strace();
        command.args(["-f", "-xx", "-y", "-s", "524288", "-e", "signal=none"]);
        command.arg("-o").arg(output.path());
        command.args(["-p", &program.id().to_string()]);
        command.args(arguments);
        let strace = Program::start(command);
        strace.await_line("attached");
        Self { strace, output }
    }

    /// Leaves the program alone, and returns what was seen.
    pub(crate) fn detach(mut self) -> Vec<Call> {
        self.strace.signal(Signal::TERM);
        self.strace.await_end();
        read_trace(self.output.path())
    }
}

/// Strace as `tests/tools/install` left it.
fn strace() -> Command {
    without_settings(tools().join("bin/strace").to_str().unwrap())
}

/// Reads what strace has written.
pub(crate) fn read_trace(path: &Path) -> Vec<Call> {
    let text = fs::read_to_string(path).unwrap();
    let mut calls = Vec::new();
    // The calls that a thread has entered and not left.
    let mut open: HashMap<u32, (usize, String)> = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let (Ok(thread), rest) = (thread.parse::<u32>(), rest.trim_start()) else {
            continue;
        };
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            open.insert(thread, (number, begun.trim_end().to_owned()));
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let (_, end) = resumed.split_once(" resumed>").unwrap();
            let (entered, begun) = open.remove(&thread).unwrap();
            calls.extend(parse(&format!("{begun}{end}"), entered, number));
        } else {
            calls.extend(parse(rest, number, number));
        }
    }
    for (entered, begun) in open.into_values() {
        calls.extend(parse(&begun, entered, usize::MAX));
    }
    calls.sort_by_key(|call| call.entered);
    calls
}

const LONG_TEXT: usize = 1000;

fn parse(text: &str, entered: usize, left: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, outcome) = match rest.rsplit_once(" = ") {
        Some((arguments, outcome)) => (arguments.trim_end().strip_suffix(')')?, outcome),
        None => (rest, "?"),
    };
    let result = outcome.split([' ', '<']).next()?;
    let result = match result.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => result.parse().ok(),
    };
    let mut arguments = split(arguments);
    let data = match arguments.get_mut(1) {
        Some(text) if text.len() > LONG_TEXT && name.contains("write") => {
            bytes_in(&mem::take(text))
        }
        _ => Vec::new(),
    };
    Some(Call {
        name: name.to_owned(),
        arguments,
        data,
        result,
        entered,
        left,
        is_injected: outcome.contains("(INJECTED)"),
    })
}

/// Splits at the commas that are in no list or structure. Texts are hex digits.
fn split(arguments: &str) -> Vec<String> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in arguments.bytes().enumerate() {
        match c {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(arguments[from..at].trim().to_owned());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(arguments[from..].trim().to_owned());
    parts
}
