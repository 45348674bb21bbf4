//! A failing disk: each system call that the server makes on its store is made to fail, one at a time.
//! The answer has the right status, the log one line, nothing is left behind, and the next one works.
//!
//! Which calls there are is not written down here: each operation is traced once without faults, and
//! then repeated until every call of that trace, by its name and what it is about, has failed once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::strace::{Attached, Call, below, read_trace};
use waystation_testing::connection::{Connection, head};
use waystation_testing::program::{Program, run};
use waystation_testing::reply::Reply;
use waystation_testing::store_folder::{Store, archive_path};
use waystation_testing::wall_clock::WallClock;
use waystation_testing::{Source, Waystation, archive, eventually};

const ARCHIVE_BYTES: usize = 300_000;
/// How many calls of one name a thread is expected to make in one operation.
const MOST_CALLS: usize = 8;
/// How often each of them is tried.
const MOST_ROUNDS: usize = 5;

/// Calls whose failure is of no consequence, or that say nothing about the disk.
const UNTOUCHED: [&str; 6] = ["close", "fcntl", "lseek", "ioctl", "execve", "mmap"];

/// A call by its name and what it is about.
type Site = (String, &'static str);

/// The first path below the store, and what it is.
fn role(call: &Call, store: &Path) -> Option<&'static str> {
    // A link is about the name that it makes.
    let paths = call.paths();
    let path = paths.iter().rev().find(|path| path.starts_with(store))?;
    let relative = path.strip_prefix(store).unwrap();
    let names: Vec<_> = relative.iter().map(|name| name.to_str().unwrap()).collect();
    Some(match names[..] {
        [] => "the store",
        ["lock"] => "the lock",
        ["keys" | "keys.new"] => "the keys",
        ["stage"] => "the stage",
        ["stage", _] => "a staged file",
        ["sources"] => "sources",
        ["sources", _] => "a minute",
        ["sources", _, _] => "a second",
        ["sources", _, _, _] => "an archive",
        ["token-uses"] => "the uses",
        ["token-uses", _] => "a use",
        [_] => "a folder of records",
        [_, _] => "a record",
        _ => panic!("{}", path.display()),
    })
}

fn site(call: &Call, store: &Path) -> Option<Site> {
    let is_untouched = UNTOUCHED.contains(&call.name.as_str());
    let role = role(call, store).filter(|_| !is_untouched)?;
    Some((call.name.clone(), role))
}

/// The store's calls that were made to fail; none if one of them was not the store's.
fn hits(calls: &[Call], store: &Path) -> Vec<Site> {
    let failed = calls.iter().filter(|call| call.is_injected);
    let hits: Option<Vec<_>> = failed.map(|call| site(call, store)).collect();
    hits.unwrap_or_default()
}

/// The one call that was made to fail, if it was one: each thread counts its own.
fn hit(calls: &[Call], store: &Path) -> Option<Site> {
    let mut failed = calls.iter().filter(|call| call.is_injected);
    let only = failed.next().filter(|_| failed.next().is_none());
    only.and_then(|call| site(call, store))
}

/// What it stood for is there, and durable: its other name is of no consequence.
fn is_harmless((name, role): &Site) -> bool {
    name == "unlink" && *role == "a staged file"
}

/// An error, and the status that it has to end in.
#[derive(Clone, Copy, Debug)]
struct Fault {
    error: &'static str,
    status: u16,
    /// The calls that can fail with it; none for all.
    names: &'static [&'static str],
}

const BROKEN: Fault = Fault {
    error: "EIO",
    status: 500,
    names: &[],
};
const FULL: Fault = Fault {
    error: "ENOSPC",
    status: 507,
    names: &[
        "write",
        "fdatasync",
        "mkdir",
        "linkat",
        "fsync",
        "fallocate",
    ],
};
const OVER_QUOTA: Fault = Fault {
    error: "EDQUOT",
    ..FULL
};
const NO_FILES_LEFT: Fault = Fault {
    error: "EMFILE",
    status: 500,
    names: &["openat"],
};

/// Makes the `nth` call of each thread fail that has that name and is about that.
#[derive(Debug)]
struct Injection<'a> {
    site: &'a Site,
    error: &'static str,
    nth: usize,
}

impl Injection<'_> {
    /// What strace has to be told. Where what the call is about has a known name, only calls about it
    /// are counted; else all calls of that name.
    fn arguments(&self, store: &Path, source: Option<&Source>) -> Vec<String> {
        let (name, role) = self.site;
        let mut arguments = vec![
            "-e".to_owned(),
            format!("inject={name}:error={}:when={}", self.error, self.nth),
        ];
        for path in known_paths(role, store, source) {
            arguments.extend(["-P".to_owned(), path.to_str().unwrap().to_owned()]);
        }
        arguments
    }
}

fn known_paths(role: &str, store: &Path, source: Option<&Source>) -> Vec<PathBuf> {
    let below = |names: &[&str]| names.iter().map(|name| store.join(name)).collect();
    let archive = source.map(|source| archive_path(store, &source.id()));
    let above = |steps| {
        let path = archive
            .as_ref()
            .and_then(|path| path.ancestors().nth(steps));
        path.map(Path::to_owned).into_iter().collect()
    };
    match role {
        "the store" => vec![store.to_owned()],
        "the lock" => below(&["lock"]),
        "the keys" => below(&["keys", "keys.new"]),
        "the stage" => below(&["stage"]),
        "sources" => below(&["sources"]),
        "a minute" => above(2),
        "a second" => above(1),
        "an archive" => above(0),
        "the uses" => below(&["token-uses"]),
        "a folder of records" => below(&["users", "tokens"]),
        _ => Vec::new(),
    }
}

/// An operation as it was done without faults.
struct Clean {
    store: PathBuf,
    calls: Vec<Call>,
}

impl Clean {
    /// All that can fail. Others than the store are written to as well, so writes have a test of their
    /// own.
    fn sites(&self) -> BTreeSet<Site> {
        let sites = self.calls.iter().filter_map(|call| site(call, &self.store));
        sites.filter(|(name, _)| !name.contains("write")).collect()
    }

    /// Those that can be picked out. Where only the calls of a name can be counted, one that is made
    /// `before` on another thread would fail in place of the one that is meant.
    fn sites_but(&self, before: &[&str]) -> BTreeSet<Site> {
        let mut sites = self.sites();
        sites.retain(|(name, role)| {
            let is_named = !known_paths(role, &self.store, None).is_empty();
            is_named || !before.contains(&name.as_str())
        });
        sites
    }

    /// Which call of its thread it was, of those of that name.
    fn ordinals(&self, wanted: &Site) -> Vec<usize> {
        let mut counts = BTreeMap::new();
        let mut ordinals = Vec::new();
        for call in self.calls.iter().filter(|call| call.name == wanted.0) {
            let count = counts.entry(call.thread).or_insert(0);
            *count += 1;
            if site(call, &self.store).as_ref() == Some(wanted) {
                ordinals.push(*count);
            }
        }
        ordinals
    }

    /// Repeats the operation until each of its calls has failed with `fault`. `attempt` does it with one
    /// call failing, checks what comes of it, and says which calls failed.
    fn fail_each<H: IntoIterator<Item = Site>>(
        &self,
        what: &str,
        fault: Fault,
        attempt: impl FnMut(&Injection<'_>) -> H,
    ) {
        let is_concerned =
            |site: &Site| fault.names.is_empty() || fault.names.contains(&site.0.as_str());
        let sites = self.sites().into_iter().filter(is_concerned).collect();
        self.fail(what, &sites, fault, attempt);
    }

    fn fail<H: IntoIterator<Item = Site>>(
        &self,
        what: &str,
        sites: &BTreeSet<Site>,
        fault: Fault,
        mut attempt: impl FnMut(&Injection<'_>) -> H,
    ) {
        let mut failed = BTreeSet::new();
        let mut attempts = 0;
        for site in sites {
            // Which thread does the work is up to the system, so one try may not do.
            let likely = self.ordinals(site).into_iter().chain(1..=MOST_CALLS);
            let likely: Vec<_> = likely.collect();
            for nth in [1, 1].into_iter().chain(likely.repeat(MOST_ROUNDS)) {
                if failed.contains(site) {
                    break;
                }
                let error = fault.error;
                attempts += 1;
                failed.extend(attempt(&Injection { site, error, nth }));
            }
            assert!(failed.contains(site), "{what}: it never failed: {site:?}");
        }
        println!(
            "soak: {what}: {} calls failed with {}, in {attempts} attempts",
            sites.len(),
            fault.error
        );
    }
}

/// The lines of the log that tell of errors.
fn error_lines(program: &Program) -> Vec<String> {
    let is_error = |line: &&str| line.contains("ERROR");
    let log = program.stderr();
    log.lines().filter(is_error).map(str::to_owned).collect()
}

/// One error, with the request that it ended and all its causes, and no secret.
fn assert_told_once(server: &Waystation, id: &str, source: Option<&Source>) {
    server.program.await_line(&format!("request_id=\"{id}\""));
    let lines = error_lines(&server.program);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains(id) && lines[0].contains("error="),
        "{lines:?}"
    );
    if let Some(source) = source {
        let log = server.program.stderr();
        assert!(!log.contains(source.upload_token()));
        assert!(!log.contains(source.download_token()));
    }
}

fn ask(server: &Waystation, id: &str, method: &str, path: &str, body: &[u8]) -> Option<Reply> {
    let headers = [
        "Connection: close".to_owned(),
        format!("X-Request-Id: {id}"),
        format!("Content-Length: {}", body.len()),
        server.bearer(),
    ];
    let headers = headers.each_ref().map(String::as_str);
    let mut connection = Connection::open(server.address);
    connection.send(head(method, path, &headers));
    connection.send(body);
    Reply::parse(&connection.into_rest()).map(|(reply, _)| reply)
}

fn start() -> Waystation {
    let server = Waystation::start(&["--auth-failure-limit", "0", "--rate-limit", "0"]);
    server.bearer();
    server
}

/// What has to hold after an upload, one call of which failed.
fn check_upload(
    server: Waystation,
    (source, archive): (&Source, &[u8]),
    reply: &Reply,
    hit: &Site,
    status: u16,
) {
    let is_served = |server: &Waystation| server.download(source).body == archive;
    if is_harmless(hit) {
        assert_eq!(reply.status, 200, "{hit:?}: {reply:?}");
        assert_eq!(error_lines(&server.program).len(), 1);
        assert!(server.store.staged_bytes() > Some(0));
        let server = Waystation::start_on(server.kill(), &[]);
        assert_eq!(server.store.staged_bytes(), None);
        assert!(is_served(&server));
        return;
    }
    assert_eq!(reply.status, status, "{hit:?}: {reply:?}");
    assert_told_once(&server, "upload", Some(source));
    eventually("nothing is left", || server.store.staged_bytes().is_none());
    server.store.assert_nothing_stored();
    assert_eq!(server.download(source).status, 404);
    assert_eq!(server.upload(source, archive).status, 200, "{hit:?}");
    assert!(is_served(&server));
    let audit = server.store.run(&["audit"]);
    assert_eq!(audit.code, Some(0), "{audit:?}");
}

/// All calls about files.
const ALL: [&str; 2] = ["-e", "trace=%file,%desc"];

/// An upload on a new server, with what strace is told; the calls that it took.
fn upload_traced(injection: Option<&Injection<'_>>) -> (Waystation, Source, Reply, Vec<Call>) {
    let server = start();
    let source = server.create_source();
    let strace = attach(&server, injection, Some(&source));
    let archive = archive(ARCHIVE_BYTES, 1);
    let reply = ask(&server, "upload", "PUT", &source.upload_path(), &archive).unwrap();
    let calls = strace.detach();
    (server, source, reply, calls)
}

fn attach(
    server: &Waystation,
    injection: Option<&Injection<'_>>,
    source: Option<&Source>,
) -> Attached {
    let store = server.store.path();
    let injected = injection.map(|injection| injection.arguments(&store, source));
    let injected = injected.unwrap_or_default();
    let injected: Vec<_> = injected.iter().map(String::as_str).collect();
    Attached::to(&server.program, &[&ALL[..], &injected].concat())
}

#[test]
fn an_upload_any_call_of_which_fails_leaves_nothing_and_can_be_sent_again() {
    let (server, _, reply, calls) = upload_traced(None);
    assert_eq!(reply.status, 200);
    let store = server.store.path();
    let clean = Clean { store, calls };
    let archive = archive(ARCHIVE_BYTES, 1);
    for fault in [BROKEN, FULL, NO_FILES_LEFT] {
        clean.fail_each("upload", fault, |injection| {
            let (server, source, reply, calls) = upload_traced(Some(injection));
            let hit = hit(&calls, &server.store.path());
            match &hit {
                Some(hit) => check_upload(server, (&source, &archive), &reply, hit, fault.status),
                None => assert!([200, fault.status].contains(&reply.status), "{reply:?}"),
            }
            hit
        });
    }
}

/// An upload whose first bytes are in the stage when strace begins to look at that file alone, so that
/// the next write is that of the `last` bytes, or, if there are none, that of the facts.
fn upload_with_a_failing_write(fault: Fault, last: &[u8]) {
    let server = start();
    let source = server.create_source();
    let first = archive(1_000, 1);
    let mut connection = Connection::open(server.address);
    let headers = [
        "Connection: close",
        "X-Request-Id: upload",
        "Transfer-Encoding: chunked",
    ];
    connection.send(head("PUT", &source.upload_path(), &headers));
    // One small piece: it is written at once.
    connection.send(format!("{:x}\r\n", first.len()));
    connection.send(&first);
    connection.send("\r\n");
    eventually("it is in the stage", || {
        server.store.staged_bytes() == Some(first.len() as u64)
    });
    let staged = server.store.entries_below("stage").remove(0);
    let inject = format!("inject=/^p?write:error={}:when=1", fault.error);
    let arguments = ["-P", staged.to_str().unwrap(), "-e", &inject];
    let strace = Attached::to(&server.program, &arguments);
    if !last.is_empty() {
        connection.send(format!("{:x}\r\n", last.len()));
        connection.send(last);
        connection.send("\r\n");
    }
    connection.send("0\r\n\r\n");
    let (reply, _) = Reply::parse(&connection.into_rest()).unwrap();
    let calls = strace.detach();
    let call = calls.iter().find(|call| call.is_injected).unwrap();
    assert_eq!(call.bytes(1).starts_with(b"waystn"), last.is_empty());
    let hit = (call.name.clone(), "a staged file: write");
    let archive = [&first[..], last].concat();
    check_upload(server, (&source, &archive), &reply, &hit, fault.status);
}

#[test]
fn a_write_that_fails_leaves_nothing_of_its_upload() {
    for fault in [BROKEN, FULL, OVER_QUOTA] {
        upload_with_a_failing_write(fault, b"the last bytes");
        upload_with_a_failing_write(fault, b"");
    }
}

/// Either all of it comes, or an error, or the connection ends before its end: never other bytes.
/// `not_cached` are the calls that take what is in memory at once: they say that it is not there.
fn check_download(bytes: usize, not_cached: Option<&str>) {
    let wanted = archive(bytes, 1);
    let not_cached = not_cached.map(|name| format!("inject={name}:error=EAGAIN"));
    let attempt = |injection: Option<&Injection<'_>>| {
        let server = start();
        let source = server.create_and_upload(&wanted);
        let store = server.store.path();
        let mut arguments = ALL.map(str::to_owned).to_vec();
        if let Some(inject) = &not_cached {
            arguments.extend(["-e".to_owned(), inject.clone()]);
        }
        if let Some(injection) = injection {
            arguments.extend(injection.arguments(&store, Some(&source)));
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let strace = Attached::to(&server.program, &arguments);
        let reply = ask(&server, "download", "GET", &source.download_path(), b"");
        (server, source, reply, strace.detach())
    };
    let (server, _, reply, calls) = attempt(None);
    assert!(reply.unwrap().body == wanted);
    let store = server.store.path();
    let clean = Clean { store, calls };
    let mut sites = clean.sites();
    let is_skipped = |name: &str| {
        let inject = not_cached.as_ref();
        inject.is_some_and(|inject| inject.contains(&format!("={name}:")))
    };
    sites.retain(|(name, _)| !is_skipped(name));
    clean.fail("download", &sites, BROKEN, |injection| {
        let (server, source, reply, calls) = attempt(Some(injection));
        match reply {
            Some(reply) if reply.status == 200 => assert!(reply.body == wanted),
            Some(reply) => {
                assert_eq!(reply.status, 500, "{reply:?}");
                assert_told_once(&server, "download", Some(&source));
            }
            // Its status had been sent.
            None => drop(server.program.await_line("os error 5")),
        }
        assert!(server.download(&source).body == wanted);
        let mut hits = hits(&calls, &server.store.path());
        hits.retain(|(name, _)| !is_skipped(name));
        hits
    });
}

#[test]
fn a_small_download_any_call_of_which_fails_is_whole_or_refused() {
    for not_cached in [None, Some("openat2"), Some("preadv2")] {
        check_download(1_000, not_cached);
    }
}

#[test]
fn a_large_download_any_call_of_which_fails_is_whole_refused_or_cut_off() {
    for not_cached in [None, Some("preadv2")] {
        check_download(1_500_000, not_cached);
    }
}

/// What may be answered when a call fails. That the use of a token cannot be noted keeps nobody from using
/// it; and whether it is a token or its use that is read or staged, the call does not tell.
fn expected(path: &str, (name, role): &Site) -> &'static [u16] {
    match (name.as_str(), *role) {
        (_, "a use" | "the uses") => &[201],
        ("openat" | "read", "a record") | (_, "a staged file") => &[201, 500],
        (_, "a record" | "a folder of records") if path == "/v1/tokens" => &[500],
        _ => &[201, 500],
    }
}

/// Calls to the API that read or write records.
fn check_api(path: &str, body: &'static [u8]) {
    let attempt = |injection: Option<&Injection<'_>>| {
        let server = start();
        let strace = attach(&server, injection, None);
        let reply = ask(&server, "call", "POST", path, body).unwrap();
        (reply, strace.detach(), server)
    };
    let (reply, calls, server) = attempt(None);
    assert_eq!(reply.status, 201);
    let store = server.store.path();
    Clean { store, calls }.fail_each(path, BROKEN, |injection| {
        let (reply, calls, server) = attempt(Some(injection));
        let hit = hit(&calls, &server.store.path());
        if let Some(hit) = &hit {
            let is_expected = expected(path, hit).contains(&reply.status);
            assert!(is_expected, "{hit:?}: {reply:?}");
        }
        let tokens = server.store.run(&["token", "list"]).stdout;
        let tokens = tokens.lines().count();
        if reply.status == 201 {
            let made = usize::from(path == "/v1/tokens");
            assert_eq!(tokens, 2 + made, "{hit:?}");
        } else {
            assert_eq!(reply.status, 500, "{reply:?}");
            assert_told_once(&server, "call", None);
            assert_eq!(tokens, 2, "{hit:?}: something is left");
        }
        let hits = hits(&calls, &server.store.path());
        let is_left = hits.iter().any(is_harmless);
        assert!(is_left || server.store.staged_bytes().is_none(), "{hits:?}");
        assert_eq!(
            ask(&server, "again", "POST", path, body).unwrap().status,
            201
        );
        hit
    });
}

#[test]
fn a_creation_any_call_of_which_fails_is_refused_or_done() {
    check_api("/v1/sources", b"");
}

#[test]
fn a_new_token_any_call_for_which_fails_is_there_or_not_at_all() {
    check_api("/v1/tokens", br#"{"token":{"name":"one"}}"#);
}

/// Sweeps, until an archive that has expired is gone.
fn sweep_traced(injection: Option<&Injection<'_>>) -> (Waystation, Vec<Call>) {
    let server = Waystation::start(&["--lifetime", "1s", "--sweep-every", "100ms"]);
    let source = server.create_and_upload(b"an archive");
    let strace = attach(&server, injection, Some(&source));
    eventually("all is gone", || {
        server.store.entries_below("sources").is_empty()
    });
    assert_eq!(server.download(&source).status, 410);
    (server, strace.detach())
}

#[test]
fn a_sweep_any_call_of_which_fails_is_made_up_for_by_the_next() {
    let (server, calls) = sweep_traced(None);
    let store = server.store.path();
    Clean { store, calls }.fail_each("sweep", BROKEN, |injection| {
        let (server, calls) = sweep_traced(Some(injection));
        let hits = hits(&calls, &server.store.path());
        let lines = error_lines(&server.program);
        assert_eq!(lines.len(), hits.len(), "{hits:?} {lines:#?}");
        hits
    });
}

/// Runs a command of the program to its end, or until the server accepts connections.
fn run_traced(
    command: &Command,
    store: &Path,
    injection: Option<&Injection<'_>>,
) -> (Program, bool, Vec<Call>) {
    let output = tempfile::NamedTempFile::new().unwrap();
    let mut arguments = [&["-y", "-s", "4096"], &ALL[..]].concat();
    let injected = injection.map(|injection| injection.arguments(store, None));
    let injected = injected.unwrap_or_default();
    arguments.extend(injected.iter().map(String::as_str));
    let mut program = Program::start(below(command, output.path(), &arguments));
    let is_listening = program.await_line_or_end("listening on http://").is_some();
    if is_listening {
        program.kill();
    } else {
        program.await_end();
    }
    (program, is_listening, read_trace(output.path()))
}

/// A store as a server that was killed leaves it: with an archive, and a file in the stage.
fn killed_store() -> (Store, Source) {
    let server = start();
    let source = server.create_and_upload(b"an archive");
    let store = server.kill();
    let staged = store.path().join("stage/00112233445566778899aabbccddeeff");
    std::fs::write(staged, b"half of it").unwrap();
    (store, source)
}

/// How a program is loaded: libraries are opened.
const LOADING: [&str; 3] = ["openat", "newfstatat", "read"];

/// Starts that fail say why, and spoil nothing.
fn check_start(before: &[&str], new_store: impl Fn() -> (Store, Option<Source>)) {
    let attempt = |injection: Option<&Injection<'_>>| {
        let (store, source) = new_store();
        let (program, is_listening, calls) =
            run_traced(&store.serve(&[]), &store.path(), injection);
        (store, source, program, is_listening, calls)
    };
    let (store, _, _, is_listening, calls) = attempt(None);
    assert!(is_listening);
    let store = store.path();
    let clean = Clean { store, calls };
    clean.fail("start", &clean.sites_but(before), BROKEN, |injection| {
        let (store, source, program, is_listening, calls) = attempt(Some(injection));
        let hit = hit(&calls, &store.path());
        let told = program.stderr();
        if let Some(hit) = &hit {
            assert!(!told.contains("panic"), "{hit:?}: {told}");
            // What an earlier server left has to go before anything is accepted.
            assert_eq!(
                is_listening,
                is_harmless(hit) && source.is_none(),
                "{hit:?}: {told}"
            );
            assert!(
                is_listening || told.contains("os error 5"),
                "{hit:?}: {told}"
            );
        }
        let server = Waystation::start_on(store, &[]);
        assert_eq!(server.store.staged_bytes(), None);
        if let Some(source) = source {
            assert_eq!(server.download(&source).body, b"an archive");
        }
        server.create_source();
        hit
    });
}

#[test]
fn a_start_any_call_of_which_fails_says_why_and_the_next_one_works() {
    check_start(&LOADING, || {
        let (store, source) = killed_store();
        (store, Some(source))
    });
}

/// A store that has the keys of another, and nothing else.
fn keyed_store(other: &Store) -> Store {
    let store = Store::new();
    std::fs::create_dir(store.path()).unwrap();
    std::fs::copy(other.path().join("keys"), store.path().join("keys")).unwrap();
    store
}

#[test]
fn a_first_start_any_call_of_which_fails_says_why_and_the_next_one_works() {
    // The keys are made first, and maybe on a thread of their own: the calls that make records have the
    // same names, and can be picked out only where the keys are there.
    let before = [&LOADING[..], &["fsync", "linkat", "unlink"]].concat();
    check_start(&before, || (Store::new(), None));
    let other = start().kill();
    check_start(&LOADING, || (keyed_store(&other), None));
}

#[test]
fn a_command_any_call_of_which_fails_has_made_a_token_or_none() {
    let attempt = |injection: Option<&Injection<'_>>| {
        let store = Store::new();
        assert_eq!(store.run(&["user", "add", "ada"]).code, Some(0));
        let command = store.command(&["token", "create", "--user", "ada", "laptop"]);
        let (program, _, calls) = run_traced(&command, &store.path(), injection);
        (store, program, calls)
    };
    let (store, _, calls) = attempt(None);
    let store = store.path();
    let clean = Clean { store, calls };
    clean.fail(
        "token create",
        &clean.sites_but(&LOADING),
        BROKEN,
        |injection| {
            let (store, program, calls) = attempt(Some(injection));
            let hit = hit(&calls, &store.path());
            let is_told = program.stdout().contains("tk-us-");
            if let Some(hit) = &hit {
                assert_eq!(is_told, is_harmless(hit), "{hit:?}");
                assert!(
                    is_told || program.stderr().contains("os error 5"),
                    "{hit:?}"
                );
            }
            let list = run(store.command(&["token", "list"])).stdout;
            assert_eq!(list.lines().count(), usize::from(is_told), "{hit:?}");
            hit
        },
    );
}

#[test]
fn a_sweep_by_the_command_that_cannot_delete_fails_and_the_next_one_makes_up_for_it() {
    let server = start();
    let source = server.create_and_upload(b"an archive");
    let store = server.kill();
    let clock = WallClock::new();
    clock.stand_at(source.expires_at());
    let site = &("unlink".to_owned(), "an archive");
    let error = BROKEN.error;
    let injection = Injection {
        site,
        error,
        nth: 1,
    };
    let sweep = store.command(&["sweep"]);
    let output = tempfile::NamedTempFile::new().unwrap();
    let arguments = [
        &ALL.map(str::to_owned)[..],
        &injection.arguments(&store.path(), Some(&source)),
    ];
    let arguments = arguments.concat();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let failed = run(clock.rule(below(&sweep, output.path(), &arguments)));
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stdout.contains("1 deletions failed"), "{failed:?}");
    assert!(failed.stderr.contains("os error 5"), "{failed:?}");
    assert_eq!(store.archives().len(), 1);
    assert_eq!(run(clock.rule(sweep)).code, Some(0));
    assert_eq!(store.archives().len(), 0);
}

#[test]
fn a_server_that_can_open_no_more_files_goes_on_when_it_can() {
    let server = start();
    let source = server.create_and_upload(b"an archive");
    let inject = "inject=accept4:error=EMFILE:when=1..3";
    let strace = Attached::to(&server.program, &["-e", "trace=accept4", "-e", inject]);
    assert_eq!(server.download(&source).body, b"an archive");
    let failed = strace.detach();
    assert!(failed.iter().any(|call| call.is_injected));
    assert_eq!(server.download(&source).body, b"an archive");
}
