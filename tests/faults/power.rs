//! Power cuts. The calls of the real program are traced while it takes archives and keeps tokens; then
//! the power is cut at instants of that trace: what no sync had covered is lost at random, and a real
//! server is started on what would be left.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::medium::{Fate, Medium};
use crate::strace::{Call, read_trace, traced};
use waystation_testing::clients::{Book, Load, TokenState};
use waystation_testing::dice::{Dice, Rounds};
use waystation_testing::program::{Program, built, run, waystation};
use waystation_testing::store_folder::{api_token_in, archive_path};
use waystation_testing::{address_in, eventually};

const CUTS: usize = 40;
/// How many power cuts each trace is good for in the soak.
const CUTS_OF_A_TRACE: usize = 100;
const CLIENTS: usize = 4;
/// What a trace has at least.
const ARCHIVES: usize = 25;
const REVOCATIONS: usize = 2;
const MAX_ARCHIVE_BYTES: usize = 150_000;
/// In microseconds.
const SLOW_FOLDERS: &str = "inject=fsync:delay_enter=5000";
const NO_RATES: [&str; 4] = ["--rate-limit", "0", "--auth-failure-limit", "0"];

/// The store in its room: folders above it are new too, and have to be durable.
fn store_in(room: &Path) -> PathBuf {
    room.join("new/folders/a store")
}

fn command(room: &Path, arguments: &[&str]) -> Command {
    let mut command = waystation(arguments);
    command.arg("--store").arg(store_in(room));
    command
}

fn serve(room: &Path) -> Command {
    let mut command = command(room, &["serve", "--listen", "127.0.0.1:0"]);
    command.args(NO_RATES);
    command
}

/// A trace, in the order of what happened.
struct Trace {
    room: TempDir,
    calls: Vec<Call>,
    /// Line, whether the call is left (and not entered) there, and which call it is.
    events: Vec<(usize, bool, usize)>,
    /// What was told, after how many events.
    answers: Vec<(usize, Answer)>,
    book: Book,
    bearer: String,
}

impl Trace {
    fn of(room: TempDir, output: &Path, book: Book, bearer: String) -> Self {
        let mut calls = read_trace(output);
        settle_cut_off(&mut calls);
        let mut events = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            events.push((call.entered, false, index));
            events.push((call.left, true, index));
        }
        events.sort_unstable();
        let entered = events
            .iter()
            .enumerate()
            .filter(|(_, (_, is_left, _))| !is_left);
        let answers = entered
            .filter_map(|(event, (_, _, index))| Some((event + 1, Answer::of(&calls[*index])?)))
            .collect();
        Self {
            room,
            calls,
            events,
            answers,
            book,
            bearer,
        }
    }

    /// Traces a server from its first start on, under load, until it is killed, and the next one on
    /// the same store. Folders take long to sync: so there are archives that have their names, and
    /// could be seen, although a power cut would take them.
    fn record(dice: &mut Dice) -> Self {
        let room = tempfile::tempdir().unwrap();
        let output = tempfile::NamedTempFile::new().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "\"$@\"; exec \"$@\"", "sh"]);
        let serve = serve(room.path());
        shell.arg(serve.get_program()).args(serve.get_args());
        let command = traced(&shell, output.path(), &["-e", SLOW_FOLDERS]);
        let mut program = Program::start(command);
        let address = nth_address(&program, 1);
        let first_token = fs::read_to_string(store_in(room.path()).join("first-token"));
        let bearer = first_bearer(&first_token.unwrap());
        let book = Book::default();

        let load = Load::new(address, &bearer, &book, MAX_ARCHIVE_BYTES);
        let first = child_of(program.id());
        run_load(&load, dice, || {
            eventually("enough was done", || book.promised() >= ARCHIVES);
            load.end();
            kill_process(first, Signal::KILL).unwrap();
        });
        let load = Load::new(nth_address(&program, 2), &bearer, &book, MAX_ARCHIVE_BYTES);
        for index in 0..book.entries().len() {
            load.look_at(index);
        }
        let before = book.promised();
        run_load(&load, dice, || {
            eventually("enough was done", || {
                book.promised() >= before + ARCHIVES && book.revoked() >= REVOCATIONS
            });
        });
        program.signal(Signal::TERM);
        assert_eq!(program.await_end(), Some(0));
        Self::of(room, output.path(), book, bearer)
    }

    /// Traces the start that makes the store, and commands that make a user and a token, in one trace.
    fn record_commands() -> Self {
        let room = tempfile::tempdir().unwrap();
        let output = tempfile::NamedTempFile::new().unwrap();
        let mut shell = Command::new("sh");
        // The start makes the store, and then finds that this machine has no such address.
        let script = "
            \"$0\" serve --plain-http --listen 192.0.2.1:1 || true
            \"$0\" user add ada
            exec \"$0\" token create --user ada laptop";
        shell.args(["-ec", script]);
        shell.arg(built());
        let mut shell = traced(&shell, output.path(), &[]);
        shell.env("WAYSTATION_STORE", store_in(room.path()));
        let ended = run(shell);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let bearer = first_bearer(&ended.stdout);
        Self::of(room, output.path(), Book::default(), bearer)
    }

    /// What was on the medium when `events` of the trace had happened; what was under way then has
    /// happened or not.
    fn medium_after(&self, events: usize, dice: &mut Dice) -> Medium {
        let mut medium = Medium::new(self.room.path());
        let mut under_way = HashSet::new();
        for (_, is_left, index) in &self.events[..events] {
            let call = &self.calls[*index];
            if *is_left == (call.name != "close") {
                medium.note(call);
                under_way.remove(index);
            } else if !*is_left {
                under_way.insert(*index);
            }
        }
        let mut under_way: Vec<_> = under_way.into_iter().collect();
        under_way.sort_unstable();
        for index in under_way {
            let call = &self.calls[index];
            if !call.name.contains("sync") && dice.chance(50) {
                medium.note(call);
            }
        }
        medium
    }

    /// All that had been answered when `events` of the trace had happened.
    fn answers_before(&self, events: usize) -> HashSet<Answer> {
        let before = self.answers.iter().filter(|(event, _)| *event <= events);
        before.map(|(_, answer)| answer.clone()).collect()
    }

    /// Where in the trace something happens that makes a difference.
    fn instants(&self) -> Vec<usize> {
        let is_such = |call: &Call| {
            let names = ["sync", "link", "mkdir", "rename", "send", "write", "open"];
            names.iter().any(|name| call.name.contains(name))
        };
        let events = self.events.iter().enumerate();
        events
            .filter(|(_, (_, _, index))| is_such(&self.calls[*index]))
            .map(|(event, _)| event + 1)
            .collect()
    }
}

/// The trace does not say whether a killed program has made the name that it was making. Whoever reads
/// under that later does.
fn settle_cut_off(calls: &mut [Call]) {
    for index in 0..calls.len() {
        let (call, later) = calls[index..].split_first_mut().unwrap();
        let made = match call.name.as_str() {
            "link" => call.bytes(1),
            "linkat" => call.bytes(3),
            _ => continue,
        };
        let is_read = |later: &Call| {
            let path = usize::from(later.name != "open");
            later.name.starts_with("open") && later.has_succeeded() && later.bytes(path) == made
        };
        if call.result.is_none() && later.iter().any(is_read) {
            call.left = call.entered;
            call.result = Some(0);
        }
    }
}

/// Clients, for as long as `work` takes, and one that asks for what is being uploaded just now.
fn run_load(load: &Load<'_>, dice: &mut Dice, work: impl FnOnce()) {
    thread::scope(|scope| {
        load.run_during(CLIENTS, dice, || {
            scope.spawn(|| load.watch());
            work();
        });
    });
}

/// The address of the nth server that was started.
fn nth_address(program: &Program, nth: usize) -> SocketAddr {
    let mut address = None;
    eventually("the server accepts connections", || {
        let told = program.stderr();
        let mut lines = told
            .lines()
            .filter(|line| line.contains("listening on http://"));
        address = lines.nth(nth - 1).map(address_in);
        address.is_some()
    });
    address.unwrap()
}

fn child_of(parent: u32) -> Pid {
    let children = format!("/proc/{parent}/task/{parent}/children");
    let children = std::fs::read_to_string(children).unwrap();
    Pid::from_raw(children.trim().parse().unwrap()).unwrap()
}

fn first_bearer(text: &str) -> String {
    format!("Authorization: Bearer {}", api_token_in(text))
}

/// Something that a client, or who started the program, was told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Answer {
    /// A source's links.
    Created {
        source: String,
    },
    /// The archive of a source is there: after an upload, or because it was served.
    Archive {
        source: String,
    },
    Made {
        token: usize,
    },
    Revoked {
        token: usize,
    },
    /// A token that was printed, or written to the file of a first start.
    Shown,
}

impl Answer {
    /// What is told with this call, as soon as it is entered.
    fn of(call: &Call) -> Option<Self> {
        let is_output = matches!(
            call.name.as_str(),
            "write" | "writev" | "sendto" | "sendmsg" | "sendmmsg"
        );
        if !is_output {
            return None;
        }
        let bytes = call.bytes(1);
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]);
        let Some(answer) = text.strip_prefix("HTTP/1.1 ") else {
            return text.contains("tk-us-").then_some(Self::Shown);
        };
        let status = answer.get(..3)?;
        let id = text.split("x-request-id: ").nth(1)?;
        let id = id.split("\r\n").next()?;
        let (kind, which) = id.split_once('.').unwrap_or((id, ""));
        match (kind, status) {
            ("create", "201") => {
                let (_, rest) = text.split_once("/v1/sources/")?;
                let source = rest.split('?').next()?.to_owned();
                Some(Self::Created { source })
            }
            ("put" | "get", "200") => Some(Self::Archive {
                source: which.to_owned(),
            }),
            ("make", "201") => Some(Self::Made {
                token: which.parse().ok()?,
            }),
            ("revoke", "204") => Some(Self::Revoked {
                token: which.parse().ok()?,
            }),
            _ => None,
        }
    }
}

/// Looks at every answer at the instant at which it is sent: is all that it rests on durable?
fn check_order(trace: &Trace) -> usize {
    let mut medium = Medium::new(trace.room.path());
    let store = store_in(trace.room.path());
    let mut answers = trace.answers.iter().peekable();
    for (event, (line, is_left, index)) in trace.events.iter().enumerate() {
        let call = &trace.calls[*index];
        if !is_left {
            check_name(&medium, call);
        }
        if let Some((_, answer)) = answers.next_if(|(at, _)| *at == event + 1)
            && let Err(problem) = check_durable(&medium, &store, answer, trace)
        {
            panic!("line {line}: told too early: {answer:?}: {problem}");
        }
        if *is_left == (call.name != "close") {
            medium.note(call);
        }
    }
    trace.answers.len()
}

/// A file may get a name under which it is read only when its bytes are durable.
fn check_name(medium: &Medium, call: &Call) {
    let to = match call.name.as_str() {
        "link" | "rename" => 1,
        "linkat" | "renameat" | "renameat2" => 3,
        _ => return,
    };
    let from = to / 2;
    let folder = if to == 3 { 0 } else { usize::MAX };
    let is_bare = !medium.has_unsynced_bytes(call, folder, from);
    assert!(is_bare, "line {}: a name before the bytes", call.entered);
}

fn check_durable(
    medium: &Medium,
    store: &Path,
    answer: &Answer,
    trace: &Trace,
) -> Result<(), String> {
    let document_of = |token| {
        let tokens = trace.book.tokens();
        let id = &tokens.iter().find(|made| made.number == token).unwrap().id;
        store.join(format!("tokens/{}/{id}.json", &id[..8]))
    };
    // Whatever is told, it can be asked for with these only.
    medium.durable_content(&store.join("users"))?;
    match answer {
        Answer::Created { .. } => medium.durable_content(&store.join("keys")).map(drop),
        Answer::Archive { source } => {
            let archive = archive_of(&trace.book, source);
            let content = medium.durable_content(&archive_path(store, source))?;
            if content.starts_with(&archive) {
                Ok(())
            } else {
                Err("other bytes".to_owned())
            }
        }
        Answer::Made { token } => medium.durable_content(&document_of(*token)).map(drop),
        Answer::Revoked { token } => medium.durably_gone(&document_of(*token)),
        // Nothing uses a token yet.
        Answer::Shown => medium.durable_content(&store.join("tokens")).map(drop),
    }
}

fn archive_of(book: &Book, source: &str) -> Vec<u8> {
    let entries = book.entries();
    let entry = entries.iter().find(|entry| entry.source.id() == source);
    entry.unwrap().archive().unwrap()
}

/// What clients know at an instant of the trace.
fn book_after(trace: &Trace, answers: &HashSet<Answer>) -> Book {
    let was_told = |answer: Answer| answers.contains(&answer);
    let mut entries = trace.book.entries();
    entries.retain(|entry| {
        let source = entry.source.id();
        was_told(Answer::Created { source })
    });
    for entry in &mut entries {
        let source = entry.source.id();
        entry.is_promised = was_told(Answer::Archive { source });
    }
    let mut tokens = trace.book.tokens();
    tokens.retain(|token| {
        let token = token.number;
        was_told(Answer::Made { token })
    });
    for token in &mut tokens {
        let number = token.number;
        token.state = match token.state {
            TokenState::Promised => TokenState::Promised,
            TokenState::Revoked | TokenState::Unknown
                if was_told(Answer::Revoked { token: number }) =>
            {
                TokenState::Revoked
            }
            TokenState::Revoked | TokenState::Unknown => TokenState::Unknown,
        };
    }
    Book::of(entries, tokens)
}

/// Cuts the power, starts a server on what is left, and checks every promise. Returns how many
/// archives had been promised, and how many are there.
fn cut(trace: &Trace, instant: usize, dice: &mut Dice) -> (usize, usize) {
    let fate = match dice.below(10) {
        0..3 => Fate::NoneIsKept,
        3 => Fate::AllAreKept,
        _ => Fate::Chance(*dice.pick(&[10, 50, 90])),
    };
    let medium = trace.medium_after(instant, dice);
    let room = tempfile::tempdir().unwrap();
    medium.cut(fate, dice).write_to(room.path());
    println!("the power is cut after event {instant}: {fate:?}");

    let answers = trace.answers_before(instant);
    let book = book_after(trace, &answers);
    let program = Program::start(serve(room.path()));
    let address = address_in(&program.await_line("listening on http://"));
    let load = Load::new(address, &trace.bearer, &book, 0);
    let promised = book.promised();
    let whole = (0..book.entries().len()).filter(|index| load.look_at(*index));
    let whole = whole.count();
    for token in book.tokens() {
        load.check_token(&token);
    }
    if answers.contains(&Answer::Shown) {
        assert!(
            load.create().is_some(),
            "the token that was printed is lost"
        );
    }
    let staged = std::fs::read_dir(store_in(room.path()).join("stage")).unwrap();
    assert_eq!(staged.count(), 0);
    let audit = run(command(room.path(), &["audit"]));
    assert_eq!(audit.code, Some(0), "{audit:?}");
    (promised, whole)
}

#[test]
fn what_was_answered_outlives_a_power_cut_at_any_instant() {
    let mut dice = Dice::new("power cuts");
    let mut trace = Trace::record(&mut dice);
    let mut answers = check_order(&trace);
    let mut instants = trace.instants();
    let (mut cuts, mut promises, mut archives) = (0, 0, 0);
    for round in Rounds::new(CUTS) {
        if round > 0 && round % CUTS_OF_A_TRACE == 0 {
            trace = Trace::record(&mut dice);
            answers += check_order(&trace);
            instants = trace.instants();
        }
        let instant = *dice.pick(&instants);
        let (kept, whole) = cut(&trace, instant, &mut dice);
        cuts += 1;
        promises += kept;
        archives += whole;
    }
    println!(
        "soak: {cuts} power cuts, {answers} answers in order; {promises} promises checked, {archives} archives found whole"
    );
}

#[test]
fn users_and_tokens_made_by_commands_outlive_a_power_cut_once_they_are_told() {
    let mut dice = Dice::new("power cuts in commands");
    let trace = Trace::record_commands();
    assert_eq!(check_order(&trace), 1);
    let instants = trace.instants();
    for _ in 0..8 {
        let instant = *dice.pick(&instants);
        cut(&trace, instant, &mut dice);
    }
    // The last instant of all, with the token printed.
    cut(&trace, trace.events.len(), &mut dice);
}

#[test]
fn a_name_that_a_killed_program_has_made_was_there_from_then_on() {
    let trace = tempfile::NamedTempFile::new().unwrap();
    // As strace spells "/r", "/r/a", "/r/b" and "/r/c".
    let [r, a, b, c] = ["", r"\x2f\x61", r"\x2f\x62", r"\x2f\x63"];
    let [r, a, b, c] = [r, a, b, c].map(|name| format!(r"\x2f\x72{name}"));
    let lines = [
        format!(r#"7 openat(AT_FDCWD, "{a}", O_WRONLY|O_CREAT, 0600) = 3"#),
        format!(r#"7 linkat(AT_FDCWD, "{a}", AT_FDCWD, "{b}", 0 <unfinished ...>"#),
        format!(r#"8 linkat(AT_FDCWD, "{a}", AT_FDCWD, "{c}", 0) = ?"#),
        "7 +++ killed by SIGKILL +++".to_owned(),
        "8 +++ killed by SIGKILL +++".to_owned(),
        format!(r#"9 openat(AT_FDCWD, "{r}", O_RDONLY) = 3"#),
        "9 syncfs(3) = 0".to_owned(),
        format!(r#"9 openat(AT_FDCWD, "{b}", O_RDONLY) = 4"#),
    ];
    std::fs::write(trace.path(), lines.join("\n")).unwrap();
    let mut calls = read_trace(trace.path());
    settle_cut_off(&mut calls);
    let mut medium = Medium::new(Path::new("/r"));
    let mut durable = Vec::new();
    for call in &calls {
        medium.note(call);
        durable.push(medium.durable_content(Path::new("/r/b")).is_ok());
    }
    assert_eq!(durable, [false, false, false, false, true, true]);
    assert!(medium.durable_content(Path::new("/r/c")).is_err());
}
