//! Power cuts. The calls of the real program are traced while it takes archives and keeps tokens; then
//! the power is cut at instants of that trace: what no sync had covered is lost at random, and a real
//! server is started on what would be left.

mod power_in_parts;

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

/// What was seen of the server, or of commands, and what their clients know of it. Instants are lines of the trace.
struct Trace {
    room: TempDir,
    /// In the order in which they were entered.
    calls: Vec<Call>,
    /// What was answered, and when.
    answers: Vec<(usize, Answer)>,
    book: Book,
    bearer: String,
}

impl Trace {
    fn of(room: TempDir, output: &Path, book: Book, bearer: String) -> Self {
        let mut calls = read_trace(output);
        settle_cut_off(&mut calls);
        let answers = calls
            .iter()
            .filter_map(|call| Some((call.entered, Answer::of(call)?)));
        Self {
            answers: answers.collect(),
            room,
            calls,
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

    /// Traces the start that makes the store, and commands that make a user and a token, in one trace, with a line of
    /// shell between the two.
    fn record_commands(before: &str) -> Self {
        let room = tempfile::tempdir().unwrap();
        let output = tempfile::NamedTempFile::new().unwrap();
        let mut shell = Command::new("sh");
        // The start makes the store, and then finds that this machine has no such address.
        let script = format!(
            "
            \"$0\" serve --plain-http --listen 192.0.2.1:1 || true
            \"$0\" user add ada
            {before}
            exec \"$0\" token create --user ada laptop"
        );
        shell.args(["-ec", &script]);
        shell.arg(built());
        let mut shell = traced(&shell, output.path(), &[]);
        shell.env("WAYSTATION_STORE", store_in(room.path()));
        let ended = run(shell);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let bearer = first_bearer(&ended.stdout);
        Self::of(room, output.path(), Book::default(), bearer)
    }

    /// The calls in the order in which they had their effect, and when that was. Another thread may use a
    /// folder before the trace says that it has been made.
    fn effects(&self) -> impl Iterator<Item = (usize, &Call)> {
        let mut effects: Vec<_> = self
            .calls
            .iter()
            .map(|call| {
                let is_mkdir = call.name.starts_with("mkdir");
                (if is_mkdir { call.entered } else { call.left }, call)
            })
            .collect();
        effects.sort_by_key(|(line, _)| *line);
        effects.into_iter()
    }

    /// What was on the medium at an instant; what was under way then has happened or not.
    fn medium_at(&self, instant: usize, dice: &mut Dice) -> Medium {
        let mut medium = Medium::new(self.room.path());
        for (line, call) in self.effects() {
            let is_under_way = line >= instant && call.entered <= instant;
            let may_have_happened = is_under_way && !call.name.contains("sync");
            if line < instant || may_have_happened && dice.chance(50) {
                medium.note(call);
            }
        }
        medium
    }

    /// All that had been answered by then.
    fn answers_by(&self, instant: usize) -> HashSet<Answer> {
        let before = self.answers.iter().filter(|(line, _)| *line <= instant);
        before.map(|(_, answer)| answer.clone()).collect()
    }

    /// When something happens that makes a difference.
    fn instants(&self) -> Vec<usize> {
        let names = ["sync", "link", "mkdir", "rename", "send", "write", "open"];
        let is_such = |call: &&Call| names.iter().any(|name| call.name.contains(name));
        let calls = self.calls.iter().filter(is_such);
        calls.flat_map(|call| [call.entered, call.left]).collect()
    }
}

/// The trace does not say whether a killed program has made the name that it was making. Whoever reads
/// under that later does.
fn settle_cut_off(calls: &mut [Call]) {
    for index in 0..calls.len() {
        let (call, later) = calls[index..].split_first_mut().unwrap();
        if call.result.is_some() || !call.name.starts_with("link") {
            continue;
        }
        let made = &call.named_paths()[1];
        let is_read = |later: &Call| {
            let is_open = later.name.starts_with("open") && later.has_succeeded();
            is_open && later.named_paths().contains(made)
        };
        if later.iter().any(is_read) {
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

/// What a client got as an answer, or an operator at the terminal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Answer {
    /// The links of a source.
    Created(String),
    /// The archive of a source is there: after an upload, or because it was served.
    Archive(String),
    /// An API token, by its number.
    Made(usize),
    Revoked(usize),
    /// How far an upload in parts is.
    Offset(usize),
    /// A token that was printed, or written to the file of a first start.
    Shown,
}

impl Answer {
    /// What is answered with this call, as soon as it is entered.
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
                Some(Self::Created(rest.split('?').next()?.to_owned()))
            }
            ("put" | "get", "200") => Some(Self::Archive(which.to_owned())),
            ("part", "200" | "201" | "204") => {
                let offset = text.split("upload-offset: ").nth(1);
                let offset = offset.and_then(|text| text.split("\r\n").next());
                Some(Self::Offset(offset.map_or(0, |text| text.parse().unwrap())))
            }
            ("make", "201") => Some(Self::Made(which.parse().ok()?)),
            ("revoke", "204") => Some(Self::Revoked(which.parse().ok()?)),
            _ => None,
        }
    }
}

/// Looks at every answer at the instant at which it is sent: is all that it rests on durable?
fn check_order(trace: &Trace) -> usize {
    let mut medium = Medium::new(trace.room.path());
    let mut effects = trace.effects().peekable();
    for call in &trace.calls {
        let line = call.entered;
        while let Some((_, before)) = effects.next_if(|(effect, _)| *effect < line) {
            medium.note(before);
        }
        // A file may get a name under which it is read only when its bytes are durable.
        let is_name = call.name.starts_with("link") || call.name.starts_with("rename");
        let is_bare = is_name && medium.has_unsynced_bytes(&call.named_paths()[0]);
        assert!(!is_bare, "line {line}: a name before the bytes");
        if let Some(answer) = Answer::of(call)
            && let Err(problem) = check_durable(&medium, &answer, trace)
        {
            panic!("line {line}: answered too early: {answer:?}: {problem}");
        }
    }
    trace.answers.len()
}

fn check_durable(medium: &Medium, answer: &Answer, trace: &Trace) -> Result<(), String> {
    let store = store_in(trace.room.path());
    let document_of = |token| {
        let tokens = trace.book.tokens();
        let id = &tokens.iter().find(|made| made.number == token).unwrap().id;
        store.join(format!("tokens/{}/{id}.json", &id[..8]))
    };
    // Whatever was answered, it can be asked for with these only.
    medium.durable_content(&store.join("users"))?;
    match answer {
        Answer::Created(_) => medium.durable_content(&store.join("keys")).map(drop),
        Answer::Archive(source) => {
            let entries = trace.book.entries();
            let entry = entries.iter().find(|entry| entry.source.id() == *source);
            let content = medium.durable_content(&archive_path(&store, source))?;
            let is_it = content.starts_with(&entry.unwrap().archive());
            is_it.then_some(()).ok_or_else(|| "other bytes".to_owned())
        }
        Answer::Made(token) => medium.durable_content(&document_of(*token)).map(drop),
        Answer::Revoked(token) => medium.durably_gone(&document_of(*token)),
        // Nothing more is sent before it is read.
        Answer::Offset(_) => medium.durable_content(&store.join("attempts")).map(drop),
        // Nothing uses a token yet.
        Answer::Shown => medium.durable_content(&store.join("tokens")).map(drop),
    }
}

/// What clients know at an instant of the trace.
fn book_after(trace: &Trace, answers: &HashSet<Answer>) -> Book {
    let was_told = |answer: Answer| answers.contains(&answer);
    let mut entries = trace.book.entries();
    entries.retain(|entry| was_told(Answer::Created(entry.source.id())));
    for entry in &mut entries {
        entry.is_promised = was_told(Answer::Archive(entry.source.id()));
    }
    let mut tokens = trace.book.tokens();
    tokens.retain(|token| was_told(Answer::Made(token.number)));
    for token in &mut tokens {
        // Its deletion may have been asked for already.
        if token.state != TokenState::Promised && !was_told(Answer::Revoked(token.number)) {
            token.state = TokenState::Unknown;
        }
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
    let room = tempfile::tempdir().unwrap();
    trace.medium_at(instant, dice).cut(fate, dice, room.path());
    println!("the power is cut at line {instant}: {fate:?}");

    let answers = trace.answers_by(instant);
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
fn users_and_tokens_made_by_commands_outlive_a_power_cut_once_they_are_printed() {
    let mut dice = Dice::new("power cuts in commands");
    let trace = Trace::record_commands("");
    assert_eq!(check_order(&trace), 1);
    let instants = trace.instants();
    for _ in 0..8 {
        let instant = *dice.pick(&instants);
        cut(&trace, instant, &mut dice);
    }
    // The last instant of all, with the token printed.
    cut(&trace, usize::MAX, &mut dice);
}

/// As another would have that has been cut short before it synced the name.
const MAKE_FOLDERS_OF_TOKENS: &str = r#"
    for user in "$WAYSTATION_STORE"/users/*.json; do
        name=${user##*/}
        folder=$WAYSTATION_STORE/tokens/${name%"${name#????????}"}
        [ -d "$folder" ] || mkdir "$folder"
    done"#;

#[test]
fn a_token_in_a_folder_that_another_has_made_and_not_synced_outlives_a_power_cut() {
    let trace = Trace::record_commands(MAKE_FOLDERS_OF_TOKENS);
    assert_eq!(check_order(&trace), 1);
    let mut dice = Dice::new("power cuts in a folder of another");
    cut(&trace, usize::MAX, &mut dice);
}
