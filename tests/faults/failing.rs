//! A failing disk under the real program: its writes and its starts, with real system calls that strace
//! makes fail. All other calls fail in process, where each can be picked out: see [`crate::model`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use waystation_testing::connection::{Connection, head};
use waystation_testing::program::Program;
use waystation_testing::reply::Reply;
use waystation_testing::store_folder::Store;
use waystation_testing::{Source, Waystation, archive, eventually};

use crate::strace::{Attached, Call, below, read_trace};

/// An upload whose first bytes are in the stage when strace begins to look at that file alone, so that
/// the next write is that of the `last` bytes, or, if there are none, that of the facts.
fn upload_with_a_failing_write(error: &str, status: u16, last: &[u8]) {
    let server = Waystation::start(&[]);
    let source = server.create_source();
    let first = archive(1_000, 1);
    let mut connection = Connection::open(server.address);
    let chunked = "Transfer-Encoding: chunked";
    connection.send(head("PUT", &source.upload_path(), &[chunked]));
    // One small piece: it is written at once.
    connection.send(format!("{:x}\r\n", first.len()));
    connection.send(&first);
    connection.send("\r\n");
    eventually("it is in the stage", || {
        server.store.staged_bytes() == Some(first.len() as u64)
    });
    let staged = server.store.entries_below("stage").remove(0);
    let inject = format!("inject=/^p?write:error={error}:when=1");
    let arguments = ["-P", staged.to_str().unwrap(), "-e", &inject];
    let strace = Attached::to(&server.program, &arguments);
    if !last.is_empty() {
        connection.send(format!("{:x}\r\n", last.len()));
        connection.send(last);
        connection.send("\r\n");
    }
    connection.send("0\r\n\r\n");
    let reply = connection.next_reply();
    let calls = strace.detach();
    let call = calls.iter().find(|call| call.is_injected).unwrap();
    assert_eq!(call.bytes(1).starts_with(b"waystn"), last.is_empty());

    assert_eq!(reply.status, status, "{error}: {reply:?}");
    assert_logged_once(&server, &source, &reply);
    eventually("nothing is left", || server.store.staged_bytes().is_none());
    server.store.assert_nothing_stored();
    assert_eq!(server.download(&source).status, 404);
    let archive = [&first[..], last].concat();
    assert_eq!(server.upload(&source, &archive).status, 200);
    assert!(server.download(&source).body == archive);
}

/// One error in the log, with the request that it ended and all its causes, and no secret.
fn assert_logged_once(server: &Waystation, source: &Source, reply: &Reply) {
    let id = reply.header("x-request-id").unwrap();
    server.program.await_line(id);
    let log = server.program.stderr();
    let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].contains(id) && errors[0].contains("error="));
    assert!(!log.contains(source.upload_token()));
}

#[test]
fn a_write_that_fails_leaves_nothing_of_its_upload() {
    for (error, status) in [("EIO", 500), ("ENOSPC", 507), ("EDQUOT", 507)] {
        upload_with_a_failing_write(error, status, b"the last bytes");
        upload_with_a_failing_write(error, status, b"");
    }
}

/// As some file systems and some filters of system calls do.
#[test]
fn a_download_is_whole_where_sendfile_is_refused() {
    let server = Waystation::start(&[]);
    let source = server.create_source();
    let archive = archive(3_000_000, 1);
    assert_eq!(server.upload(&source, &archive).status, 200);
    for error in ["EINVAL", "ENOSYS", "EOPNOTSUPP", "EPERM"] {
        let inject = format!("inject=sendfile:error={error}");
        let strace = Attached::to(&server.program, &["-e", "trace=sendfile", "-e", &inject]);
        let body = server.download(&source).body;
        let calls = strace.detach();
        assert!(calls.iter().any(|call| call.is_injected), "{error}");
        assert!(body == archive, "{error}");
    }
}

/// Calls whose failure is of no consequence, or that say nothing about the disk.
const UNTOUCHED: [&str; 6] = ["close", "fcntl", "lseek", "ioctl", "execve", "mmap"];
const LEFTOVER: &str = "stage/00112233445566778899aabbccddeeff";

/// A call by its name and its path.
type Site = (String, PathBuf);

fn site(call: &Call, store: &Path) -> Site {
    // A link is about the name that it makes.
    let mut paths = call.paths().rev();
    let path = paths.find_map(|path| path.strip_prefix(store).ok().map(Path::to_owned));
    (call.name.clone(), path.unwrap_or("?".into()))
}

/// A start, until it listens or ends, and the calls it makes on `paths`; of those of one name, the nth of
/// each thread fails.
fn start_traced(
    store: &Store,
    paths: &[PathBuf],
    failing: Option<(&str, usize)>,
) -> (Program, bool, Vec<Call>) {
    let output = NamedTempFile::new().unwrap();
    let mut arguments = vec!["-y".to_owned(), "-s4096".to_owned()];
    for path in paths {
        let path = store.path().join(path);
        arguments.extend(["-P".to_owned(), path.to_str().unwrap().to_owned()]);
    }
    if let Some((name, nth)) = failing {
        // No other call is stopped at, which makes a start several times as quick.
        let trace = format!("trace={name}");
        let inject = format!("inject={name}:error=EIO:when={nth}");
        let only = ["--seccomp-bpf", "-e", &trace, "-e", &inject];
        arguments.extend(only.map(str::to_owned));
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut program = Program::start(below(&store.serve(&[]), output.path(), &arguments));
    let is_listening = program.await_line_or_end("listening on http://").is_some();
    if is_listening {
        program.kill();
    } else {
        program.await_end();
    }
    (program, is_listening, read_trace(output.path()))
}

/// Starts that fail say why, and spoil nothing.
fn check_start(paths: &[PathBuf], new_store: impl Fn() -> (Store, Option<Source>)) {
    let (store, _) = new_store();
    let (_, is_listening, calls) = start_traced(&store, paths, None);
    assert!(is_listening);
    let mut sites: BTreeSet<_> = calls.iter().map(|call| site(call, &store.path())).collect();
    sites.retain(|(name, _)| !UNTOUCHED.contains(&name.as_str()));
    for site in &sites {
        // Until there is no nth.
        let fail_nth = |nth| fail_start(new_store(), site, nth);
        let failed = (1..).map(fail_nth).take_while(|has_failed| *has_failed);
        assert!(failed.count() > 0, "it never failed: {site:?}");
    }
    println!("soak: {} calls of a start failed", sites.len());
}

/// Starts a server one of whose calls fails, if there is such a call, and then one that has no such trouble.
fn fail_start((store, source): (Store, Option<Source>), site: &Site, nth: usize) -> bool {
    let (name, path) = site;
    let paths = std::slice::from_ref(path);
    let (program, is_listening, calls) = start_traced(&store, paths, Some((name, nth)));
    let has_failed = calls.iter().any(|call| call.is_injected);
    let log = program.stderr();
    // Another token can be made.
    let is_optional = path == "first-token";
    assert_eq!(is_listening, !has_failed || is_optional, "{site:?}: {log}");
    let is_explained = log.contains("os error 5") && !log.contains("panic");
    assert!(!has_failed || is_explained, "{site:?}: {log}");
    let server = Waystation::start_on(store, &[]);
    assert_eq!(server.store.staged_bytes(), None);
    if let Some(source) = source {
        assert_eq!(server.download(&source).body, b"an archive");
    }
    server.create_source();
    has_failed
}

/// The paths of a store that every start knows, relative to it.
fn paths_of(store: &Store) -> Vec<PathBuf> {
    let root = store.path();
    let entries = std::fs::read_dir(&root).unwrap();
    let names = entries.map(|entry| PathBuf::from(entry.unwrap().file_name()));
    let others = ["", "keys.new", LEFTOVER].map(PathBuf::from);
    names.chain(others).collect()
}

#[test]
fn a_start_any_call_of_which_fails_says_why_and_the_next_one_works() {
    let paths = paths_of(&Waystation::start(&[]).kill());
    check_start(&paths, || (Store::new(), None));
    // As a server that was killed leaves it: with an archive, and a file in the stage.
    check_start(&paths, || {
        let server = Waystation::start(&[]);
        let source = server.create_and_upload(b"an archive");
        let store = server.kill();
        std::fs::write(store.path().join(LEFTOVER), b"half of it").unwrap();
        (store, Some(source))
    });
}

/// What a start says on a file system on which these calls fail; nothing if it listens.
fn start_on_file_system(inject: &str, flags: &[&str]) -> Option<String> {
    let store = Store::new();
    let output = NamedTempFile::new().unwrap();
    let inject = format!("inject={inject}");
    let path = store.path();
    let mut arguments = vec!["-e", &inject];
    if inject.contains("fsync") {
        arguments.extend(["-P", path.to_str().unwrap()]);
    }
    let mut program = Program::start(below(&store.serve(flags), output.path(), &arguments));
    if program.await_line_or_end("listening on http://").is_some() {
        program.kill();
        return None;
    }
    assert_eq!(program.await_end(), Some(1));
    Some(program.stderr())
}

#[test]
fn a_start_on_a_file_system_that_lacks_something_names_it_and_the_way_out() {
    for error in ["EPERM", "EOPNOTSUPP"] {
        let told = start_on_file_system(&format!("link,linkat:error={error}"), &[]).unwrap();
        assert!(told.contains("its file system has no hard links"), "{told}");
        assert!(told.contains("put --store on another"), "{told}");
    }
    let no_sync = "fsync:error=EINVAL";
    let told = start_on_file_system(no_sync, &[]).unwrap();
    assert!(told.contains("does not sync folders"), "{told}");
    assert!(told.contains("--sync off"), "{told}");
    assert_eq!(start_on_file_system(no_sync, &["--sync", "off"]), None);
}

#[test]
fn a_server_that_can_open_no_more_files_goes_on_when_it_can() {
    let server = Waystation::start(&[]);
    let source = server.create_and_upload(b"an archive");
    let inject = "inject=accept4:error=EMFILE:when=1..3";
    let strace = Attached::to(&server.program, &["-e", "trace=accept4", "-e", inject]);
    assert_eq!(server.download(&source).body, b"an archive");
    let failed = strace.detach();
    assert!(failed.iter().any(|call| call.is_injected));
    assert_eq!(server.download(&source).body, b"an archive");
}
