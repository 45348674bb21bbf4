//! A slow disk: calls that take seconds. Nobody waits for it but who needs what it does, and no client
//! is blamed for it.

use std::thread;

use crate::strace::Attached;
use waystation_testing::connection::{Connection, head};
use waystation_testing::reply::Reply;
use waystation_testing::{Waystation, archive, eventually};

/// How long clients may do nothing. The disk takes longer.
const IDLE_TIMEOUT: [&str; 2] = ["--idle-timeout", "1s"];
const WRITES: &str = "inject=/^p?write:delay_enter=1300000";
const READS: &str = "inject=/^pread64:delay_enter=1300000";
const SYNCS: &str = "inject=fdatasync,fsync,syncfs:delay_enter=4000000";
/// So that the disk is asked, although all is in memory.
const NOT_CACHED: &str = "inject=preadv2:error=EAGAIN";

const UPLOADS: usize = 20;
const ARCHIVE_BYTES: usize = 300_000;

#[test]
fn while_uploads_wait_for_the_disk_nobody_else_does() {
    let rates = ["--rate-limit", "0", "--admin-listen", "0"];
    let server = Waystation::start(&[&IDLE_TIMEOUT[..], &rates].concat());
    let line = server.program.await_line("metrics on http://");
    let admin = waystation_testing::address_in(&line);
    let there = server.create_and_upload(b"an archive");
    let sources: Vec<_> = (0..UPLOADS).map(|_| server.create_source()).collect();
    let archive = archive(ARCHIVE_BYTES, 1);
    let strace = Attached::to(&server.program, &["-e", SYNCS]);
    thread::scope(|scope| {
        let uploads = sources
            .iter()
            .map(|source| scope.spawn(|| server.upload(source, &archive)));
        let uploads: Vec<_> = uploads.collect();
        eventually("all are written, and being synced", || {
            server.store.staged_bytes() >= Some((UPLOADS * ARCHIVE_BYTES) as u64)
        });
        for _ in 0..10 {
            assert_eq!(server.download(&there).body, b"an archive");
            server.create_source();
            let reply = waystation_testing::connection::exchange(admin, "GET", "/healthz", b"");
            assert_eq!(reply.status, 200);
        }
        let waiting = uploads.iter().filter(|upload| !upload.is_finished());
        assert_eq!(waiting.count(), UPLOADS, "others have waited for the disk");
        for upload in uploads {
            let reply = upload.join().unwrap();
            assert_eq!(reply.status, 200, "{reply:?}");
        }
    });
    strace.detach();
    assert!(server.download(&sources[0]).body == archive);
}

#[test]
fn an_upload_is_not_cut_off_for_the_slowness_of_the_disk() {
    let server = Waystation::start(&IDLE_TIMEOUT);
    let source = server.create_source();
    let archive = archive(ARCHIVE_BYTES, 1);
    let mut connection = Connection::open(server.address);
    let length = format!("Content-Length: {}", archive.len());
    let headers = ["Connection: close", &length];
    connection.send(head("PUT", &source.upload_path(), &headers));
    connection.send(&archive[..100_000]);
    eventually("some of it is in the stage", || {
        server.store.staged_bytes() > Some(0)
    });
    let staged = server.store.entries_below("stage").remove(0);
    let arguments = ["-P", staged.to_str().unwrap(), "-e", WRITES];
    let strace = Attached::to(&server.program, &arguments);
    connection.send(&archive[100_000..]);
    let (reply, _) = Reply::parse(&connection.into_rest()).unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    let calls = strace.detach();
    assert!(calls.iter().any(|call| call.name.contains("write")));
    assert!(server.download(&source).body == archive);
}

#[test]
fn a_download_is_not_cut_off_for_the_slowness_of_the_disk() {
    let server = Waystation::start(&IDLE_TIMEOUT);
    let archive = archive(ARCHIVE_BYTES, 1);
    let source = server.create_and_upload(&archive);
    let strace = Attached::to(&server.program, &["-e", NOT_CACHED, "-e", READS]);
    assert!(server.download(&source).body == archive);
    let calls = strace.detach();
    let reads = calls.iter().filter(|call| call.name == "pread64");
    assert!(reads.count() >= 2);
}
