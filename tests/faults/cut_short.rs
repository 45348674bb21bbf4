//! `kill -9`: what was answered with 200 is there afterwards, and nothing is there in part.

use std::fs;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rustix::process::Signal;

use waystation_testing::connection::{Connection, head};
use waystation_testing::reply::Reply;
use waystation_testing::store_folder::Store;
use waystation_testing::{Source, Waystation, archive, eventually};

const ARCHIVE_BYTES: u64 = 2 * 1024 * 1024;
const EIGHTH: u64 = ARCHIVE_BYTES / 8;
const ROUNDS: u64 = 26;

/// How far an upload has come when the server is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// What is seen in the store says at least this: see [`progress`].
    Progress(u64),
    /// The client has read some of the answer.
    Answer,
}

/// What [`progress`] says when more than the archive is in the stage: its facts are written.
const FACTS_WRITTEN: u64 = ARCHIVE_BYTES + 1;
/// The archive has its name, under which it will be served.
const PUBLISHED: u64 = ARCHIVE_BYTES + 1000;
/// It has no other name any more.
const UNSTAGED: u64 = PUBLISHED + 1;

const MOMENTS: [Moment; 13] = [
    Moment::Progress(0),
    Moment::Progress(1),
    Moment::Progress(EIGHTH),
    Moment::Progress(2 * EIGHTH),
    Moment::Progress(4 * EIGHTH),
    Moment::Progress(6 * EIGHTH),
    Moment::Progress(7 * EIGHTH),
    Moment::Progress(ARCHIVE_BYTES),
    Moment::Progress(FACTS_WRITTEN),
    Moment::Progress(PUBLISHED),
    Moment::Progress(UNSTAGED),
    Moment::Answer,
    Moment::Answer,
];

/// How far an upload has come, as the store shows it; it only grows.
fn progress(store: &Store, source: &Source) -> Option<u64> {
    let staged = store.staged_bytes();
    let id = source.id();
    let is_published = store.archives().iter().any(|path| path.ends_with(&id));
    match (is_published, staged) {
        (true, None) => Some(UNSTAGED),
        (true, Some(_)) => Some(PUBLISHED),
        (false, staged) => staged,
    }
}

/// Uploads to a server that is killed meanwhile; the answer, if all of it came.
fn upload_until_killed(
    server: &Waystation,
    source: &Source,
    archive: &[u8],
    answer_begun: &Sender<()>,
) -> Option<Reply> {
    let mut connection = Connection::open(server.address);
    let length = format!("Content-Length: {}", archive.len());
    connection.try_send(head("PUT", &source.upload_path(), &[&length]).as_bytes());
    connection.try_send(archive);
    connection.read_some();
    // Nobody waits for this where the server is killed earlier.
    let _ = answer_begun.send(());
    Reply::parse(&connection.into_rest()).map(|(reply, _)| reply)
}

/// An upload of which nothing may be left but what was promised.
struct Attempt {
    moment: Moment,
    source: Source,
    archive: Vec<u8>,
    was_answered: bool,
}

/// Uploads, and kills the server at `moment`.
fn kill_at(moment: Moment, server: Waystation, seed: u64) -> (Store, Attempt) {
    let source = server.create_source();
    let archive = archive(usize::try_from(ARCHIVE_BYTES).unwrap(), seed);
    let (answer_begun, first_byte) = channel();
    let Waystation { program, .. } = &server;
    let answer = thread::scope(|scope| {
        let upload = scope.spawn(|| upload_until_killed(&server, &source, &archive, &answer_begun));
        match moment {
            Moment::Progress(enough) => eventually("the upload has come so far", || {
                progress(&server.store, &source) >= Some(enough)
            }),
            Moment::Answer => first_byte.recv().unwrap(),
        }
        program.signal(Signal::KILL);
        upload.join().unwrap()
    });
    let was_answered = answer.is_some_and(|reply| reply.status == 200);
    let attempt = Attempt {
        moment,
        source,
        archive,
        was_answered,
    };
    (server.kill(), attempt)
}

/// Is the archive there? It has to be if that was promised, and whole if it is.
fn is_served(server: &Waystation, attempt: &Attempt) -> bool {
    let moment = attempt.moment;
    let reply = server.download(&attempt.source);
    match reply.status {
        200 => assert!(reply.body == attempt.archive, "not whole: {moment:?}"),
        404 => assert!(!attempt.was_answered, "promised, and lost: {moment:?}"),
        _ => panic!("{moment:?}: {reply:?}"),
    }
    reply.status == 200
}

#[test]
fn whenever_the_server_is_killed_what_it_promised_is_whole_and_the_rest_is_gone() {
    let mut store = Store::new();
    let mut attempts = Vec::new();
    for (round, moment) in (0..ROUNDS).zip(MOMENTS.into_iter().cycle()) {
        let server = Waystation::start_on(store, &[]);
        assert_eq!(server.store.staged_bytes(), None, "{moment:?}");
        let attempt;
        (store, attempt) = kill_at(moment, server, round);
        attempts.push(attempt);
    }

    let server = Waystation::start_on(store, &[]);
    assert_eq!(server.store.staged_bytes(), None);
    let is_there = |attempt: &&Attempt| is_served(&server, attempt);
    let whole = attempts.iter().filter(is_there).count();
    assert_eq!(whole, server.store.archives().len());
    // Whoever has read an answer has read all of it: it is sent in one piece.
    let answered = attempts.iter().filter(|attempt| attempt.was_answered);
    assert!(answered.count() >= 4);
    let audit = server.store.run(&["audit"]);
    assert_eq!(audit.code, Some(0), "{audit:?}");
}

#[test]
fn an_upload_that_a_crash_cut_short_leaves_nothing_and_can_be_sent_again() {
    let server = Waystation::start(&[]);
    let source = server.create_source();
    let archive = archive(1_000_000, 1);
    let mut connection = Connection::open(server.address);
    let length = format!("Content-Length: {}", archive.len());
    connection.send(head("PUT", &source.upload_path(), &[&length]));
    connection.send(&archive[..900_000]);
    eventually("bytes are in the stage", || {
        server.store.staged_bytes() > Some(0)
    });

    let store = server.kill();
    assert!(store.staged_bytes() > Some(0), "the crash came too late");
    let server = Waystation::start_on(store, &[]);
    server.store.assert_nothing_stored();
    server.program.await_line("leftovers=1");
    assert_eq!(server.download(&source).status, 404);
    assert_eq!(server.upload(&source, &archive).status, 200);
    assert!(server.download(&source).body == archive);
}

#[test]
fn what_is_not_the_servers_stays_in_the_stage() {
    let store = Waystation::start(&[]).kill();
    let note = store.path().join("stage/a note");
    fs::write(&note, "by the operator").unwrap();
    let _server = Waystation::start_on(store, &[]);
    assert_eq!(fs::read(&note).unwrap(), b"by the operator");
}
