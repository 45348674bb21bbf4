//! What people see: help, bars on a terminal, and none in a pipe; completions and man pages.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use waystation_testing::program::{Killed, run, waystation};
use waystation_testing::terminal::Terminal;
use waystation_testing::{PATIENCE, Waystation, archive, repository};

use crate::user::User;

/// What programs print to a terminal.
struct Watched {
    pieces: mpsc::Receiver<Vec<u8>>,
    shown: Vec<u8>,
}

impl Watched {
    fn of(terminal: &Terminal) -> Self {
        let (hand_on, pieces) = mpsc::channel();
        let mut screen = terminal.screen.try_clone().unwrap();
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut piece) {
                if hand_on.send(piece[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            pieces,
            shown: Vec::new(),
        }
    }

    /// All of it, once there is `part` in it.
    fn until(&mut self, part: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.shown).into_owned();
            if text.contains(part) {
                return text;
            }
            let piece = self.pieces.recv_timeout(PATIENCE);
            let piece = piece.unwrap_or_else(|_| panic!("it never showed '{part}': {text}"));
            self.shown.extend(piece);
        }
    }
}

#[test]
fn a_terminal_has_a_bar_that_goes_and_a_pipe_has_none() {
    let server = Waystation::start(&[]);
    let user = User::of(&server);
    user.write("a.tar.gz", archive(30 * 1024 * 1024, 21));
    let terminal = Terminal::new();
    let mut push = user.command(&["push", "a.tar.gz"]);
    push.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(terminal.open());
    let mut push = Killed(push.spawn().unwrap());
    let shown = Watched::of(&terminal).until("pushed 30.0 MiB");
    assert!(shown.contains("\r\u{1b}[Kuploading "), "{shown:?}");
    assert!(shown.contains("of 30.0 MiB, "), "{shown:?}");
    assert!(shown.contains("\r\u{1b}[Kpushed 30.0 MiB"), "{shown:?}");
    assert!(push.0.wait().unwrap().success());

    let piped = user.run(&["push", "a.tar.gz"]);
    assert_eq!(piped.stderr, "pushed 30.0 MiB\n");
    let quiet = user.run(&["push", "a.tar.gz", "--quiet"]);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn a_token_that_is_typed_is_not_shown() {
    let server = Waystation::start(&[]);
    let user = User::new();
    let mut terminal = Terminal::new();
    let mut login = user.command(&["login", &server.url("")]);
    login
        .stdin(terminal.open())
        .stdout(Stdio::piped())
        .stderr(terminal.open());
    let mut login = Killed(login.spawn().unwrap());
    let mut watched = Watched::of(&terminal);
    watched.until("API token for http://");
    writeln!(terminal.screen, "{}", server.api_token()).unwrap();
    let shown = watched.until("as admin");
    assert!(!shown.contains("tk-us-"), "{shown}");
    assert!(login.0.wait().unwrap().success());
}

/// The text of `--help` of all commands, as `tests/client/help.txt` has it. After a change of them
/// `WAYSTATION_WRITE_HELP=1 cargo test --test client help` writes it anew.
#[test]
fn help_reads_as_it_was_meant_to() {
    let commands: [&[&str]; 20] = [
        &[],
        &["login"],
        &["logout"],
        &["whoami"],
        &["push"],
        &["pull"],
        &["deploy"],
        &["check"],
        &["app"],
        &["app", "create"],
        &["app", "delete"],
        &["env"],
        &["env", "set"],
        &["env", "unset"],
        &["deployment"],
        &["deployment", "list"],
        &["deployment", "log"],
        &["deployment", "follow"],
        &["completions"],
        &["man"],
    ];
    let mut all = String::new();
    for words in commands {
        let ended = run(waystation(&[words, &["--help"]].concat()));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.stderr, "");
        let words = words.join(" ");
        all = format!("{all}$ waystation {words} --help\n{}\n", ended.stdout);
    }
    let path = repository().join("tests/client/help.txt");
    if std::env::var_os("WAYSTATION_WRITE_HELP").is_some() {
        fs::write(&path, &all).unwrap();
    }
    let written = fs::read_to_string(path).unwrap();
    for (line, expected) in all.lines().zip(written.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(all.len(), written.len());
}

#[test]
fn wrong_usage_ends_with_2() {
    let user = User::new();
    for words in [
        &["push", "--compress", "xz"][..],
        &["push", "--root", "a/b"],
        &["pull"],
        &["deploy"],
        &["login"],
        &["completions", "tcsh"],
        &["pull", "x", "-o", "a", "--unpack", "b"],
    ] {
        user.failed(words, 2);
    }
}

#[test]
fn completions_are_what_shells_take_and_pages_what_man_reads() {
    let user = User::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = user.done(&["completions", shell]);
        assert!(script.contains("deployment"), "{shell}");
        if shell == "bash" {
            let script = user.write("completions", script);
            let mut bash = Command::new("bash");
            assert!(bash.arg("-n").arg(script).status().unwrap().success());
        }
    }
    user.done(&["man", "pages"]);
    let page = |name: &str| fs::read_to_string(user.home().join(Path::new("pages").join(name)));
    assert!(page("waystation.1").unwrap().contains(".TH waystation 1"));
    assert!(
        page("waystation-push.1")
            .unwrap()
            .contains("waystationignore")
    );
}
