//! What commands print, in a pipe and on a terminal, as `tests/client/output.txt` has it. After a change of it
//! `WAYSTATION_WRITE_OUTPUT=1 cargo test --test client output` writes it anew.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use waystation_testing::program::Killed;
use waystation_testing::terminal::Terminal;
use waystation_testing::{Waystation, repository};

use crate::user::User;

const COMMANDS: [&[&str]; 21] = [
    &["whoami"],
    &["check", "app", "--compress", "none"],
    &["check", "app", "--list"],
    &["push", "app", "--compress", "none"],
    &["push", "app", "--compress", "none", "--quiet"],
    &["pull", "LINK", "-o", "copy.tar"],
    &["pull", "LINK", "--unpack", "copy"],
    &["pull", "LINK", "--unpack", "copy"],
    &["push", "nowhere"],
    &["app", "show", "my-shop"],
    &["app", "create", "my-shop"],
    &["app", "list"],
    &["app", "show", "my-shop"],
    &["env", "set", "my-shop", "A=one", "B=two"],
    &["env", "list", "my-shop"],
    &["env", "unset", "my-shop", "B"],
    &[
        "deploy",
        "my-shop",
        "app",
        "--detach",
        "--ref",
        "v7",
        "--compress",
        "none",
    ],
    &["deployment", "list", "my-shop"],
    &["app", "delete", "my-shop"],
    &["app", "list", "--json"],
    &["deployment", "log", "my-shop", "none", "--json"],
];

/// Where a command prints to.
#[derive(Clone, Copy, Debug)]
enum Printing {
    Piped,
    ToTerminal,
}

/// All that a command printed, and its exit code.
fn printed(user: &User, words: &[&str], printing: Printing) -> String {
    match printing {
        Printing::Piped => {
            let ended = user.run(words);
            let marked = |mark, text: &str| -> String {
                text.lines().flat_map(|line| [mark, line, "\n"]).collect()
            };
            let (result, said) = (marked("", &ended.stdout), marked("! ", &ended.stderr));
            format!("{said}{result}{}", exit_line(ended.code))
        }
        Printing::ToTerminal => {
            let terminal = Terminal::new();
            let mut command = user.command(words);
            command.stdin(Stdio::null());
            command.stdout(terminal.open()).stderr(terminal.open());
            let mut child = Killed(command.spawn().unwrap());
            // It ends with the last one that has it open.
            drop(command);
            let (mut shown, mut piece) = (Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = (&terminal.screen).read(&mut piece) {
                shown.extend_from_slice(&piece[..count]);
            }
            let code = child.0.wait().unwrap().code();
            let shown = String::from_utf8(shown).unwrap();
            let lines: String = shown.lines().map(what_stays).collect();
            lines + &exit_line(code)
        }
    }
}

fn exit_line(code: Option<i32>) -> String {
    match code {
        Some(0) => String::new(),
        code => format!("exit code {}\n", code.unwrap()),
    }
}

/// Of a line of a terminal, what was not drawn over.
fn what_stays(line: &str) -> String {
    let (_, last) = line.rsplit_once("\u{1b}[K").unwrap_or(("", line));
    format!("{last}\n")
}

/// The same on each run.
fn masked(text: &str) -> String {
    let mask = |word: &str| {
        let is_time = word.ends_with('Z') && word.starts_with(|c: char| c.is_ascii_digit());
        let is_digest = word.len() == 64 && word.chars().all(|c| c.is_ascii_hexdigit());
        let is_id = word.matches('-').count() >= 4 && word.len() >= 36;
        if word.contains("token=") {
            "LINK".to_owned()
        } else if is_time {
            "TIME".to_owned()
        } else if is_digest {
            "DIGEST".to_owned()
        } else if is_id {
            "ID".to_owned()
        } else {
            word.to_owned()
        }
    };
    text.split_inclusive(char::is_whitespace)
        .map(|word| {
            let end = word.trim_end().len();
            mask(&word[..end]) + &word[end..]
        })
        .collect()
}

fn session(printing: Printing) -> String {
    let server = Waystation::start(&[]);
    let user = User::of(&server);
    user.write("app/index.html", "hello");
    user.write("app/bin/run", "#!/bin/sh\n");
    let link = user.done(&["push", "app", "--compress", "none"]);
    let mut session = format!("{printing:?}\n");
    for words in COMMANDS {
        let shown = words.join(" ");
        let words: Vec<_> = words
            .iter()
            .map(|word| if *word == "LINK" { &link } else { *word })
            .collect();
        let printed = printed(&user, &words, printing);
        let printed = printed.replace(&server.url(""), "http://SERVER");
        let printed = printed.replace(&server.address.to_string(), "SERVER");
        session = format!("{session}\n$ waystation {shown}\n{}", masked(&printed));
    }
    session
}

#[test]
fn output_reads_as_it_was_meant_to() {
    let all = [Printing::Piped, Printing::ToTerminal].map(session);
    let all = all.join("\n\n");
    let path = repository().join("tests/client/output.txt");
    if std::env::var_os("WAYSTATION_WRITE_OUTPUT").is_some() {
        fs::write(&path, &all).unwrap();
    }
    let written = fs::read_to_string(path).unwrap();
    for (line, expected) in all.lines().zip(written.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(all.len(), written.len());
}
