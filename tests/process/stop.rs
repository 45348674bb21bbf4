//! Being told to stop: transfers that are under way finish, nothing new begins, and it ends.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use waystation_testing::connection::{Connection, head};
use waystation_testing::curl::{HELD_ARCHIVE_BYTES, HeldDownload, HeldUpload};
use waystation_testing::{Source, Waystation, archive, eventually};

/// Far less than any limit in the server, and more than an end takes on a slow machine.
const AT_ONCE: Duration = Duration::from_secs(4);

fn start_upload(server: &Waystation, source: &Source, first: &[u8]) -> HeldUpload {
    let mut upload = HeldUpload::start(&source.upload_url);
    upload.send(first);
    eventually("the upload is in the stage", || {
        server.store.staged_bytes() > Some(0)
    });
    upload
}

fn tell_to_stop(server: &Waystation, signal: Signal) {
    server.program.signal(signal);
    server.program.await_line("shutting down");
}

#[test]
fn sigterm_lets_transfers_finish_and_nothing_new_begin() {
    let mut server = Waystation::start(&[]);
    let (sent, taken) = (archive(4_000_000, 1), archive(HELD_ARCHIVE_BYTES, 2));
    let full = server.create_and_upload(&taken);
    let source = server.create_source();
    let download = HeldDownload::start(&full.download_url);
    let mut upload = start_upload(&server, &source, &sent[..1_000_000]);

    tell_to_stop(&server, Signal::TERM);
    eventually("new connections are refused", || {
        TcpStream::connect(server.address).is_err()
    });
    upload.send(&sent[1_000_000..]);
    let report = upload.finish();
    assert_eq!(report.status, 200, "{report:?}");
    assert!(download.finish().body == taken);
    assert_eq!(server.program.await_end(), Some(0));

    let server = Waystation::start_on(server.store, &[]);
    assert!(server.download(&source).body == sent);
}

/// Tells a server on which nothing is under way to stop, and expects it to.
fn assert_ends_at_once(mut server: Waystation, signal: Signal) {
    let told_at = Instant::now();
    tell_to_stop(&server, signal);
    assert_eq!(server.program.await_end(), Some(0));
    let took = told_at.elapsed();
    assert!(took < AT_ONCE, "{signal:?}: {took:?}");
}

#[test]
fn either_signal_ends_an_idle_server_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        assert_ends_at_once(Waystation::start(&[]), signal);
    }
}

#[test]
fn a_connection_that_has_asked_nothing_does_not_hold_up_the_end() {
    let server = Waystation::start(&[]);
    let _silent = Connection::open(server.address);
    // Connections are accepted in their order: after this answer the silent one has been.
    server.download(&server.create_source());
    assert_ends_at_once(server, Signal::TERM);
}

#[test]
fn a_head_that_does_not_come_to_its_end_does_not_hold_up_the_end() {
    let server = Waystation::start(&[]);
    let mut unfinished = Connection::open(server.address);
    unfinished.send("GET / HTTP/1.1\r\nHost: waystation.test\r\n");
    server.download(&server.create_source());
    assert_ends_at_once(server, Signal::TERM);
}

#[test]
fn a_connection_that_is_kept_for_later_does_not_hold_up_the_end() {
    let server = Waystation::start(&[]);
    let mut kept = Connection::open(server.address);
    kept.send(head("GET", "/", &[]));
    assert_eq!(kept.next_reply().status, 404);
    assert_ends_at_once(server, Signal::TERM);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = Waystation::start(&[]);
    let source = server.create_source();
    let _stuck = start_upload(&server, &source, b"the beginning");

    tell_to_stop(&server, Signal::TERM);
    let told_at = Instant::now();
    server.program.signal(Signal::TERM);
    assert_eq!(server.program.await_end(), Some(1));
    assert!(told_at.elapsed() < AT_ONCE);
    server.program.await_line("a second signal");

    let server = Waystation::start_on(server.store, &[]);
    server.store.assert_nothing_stored();
}

#[test]
fn a_transfer_that_is_stuck_holds_up_the_end_no_longer_than_the_drain() {
    let mut server = Waystation::start(&["--drain", "1s"]);
    let source = server.create_source();
    let _stuck = start_upload(&server, &source, b"the beginning");

    let told_at = Instant::now();
    tell_to_stop(&server, Signal::TERM);
    assert_eq!(server.program.await_end(), Some(0));
    let took = told_at.elapsed();
    assert!(
        (Duration::from_secs(1)..AT_ONCE).contains(&took),
        "{took:?}"
    );

    let server = Waystation::start_on(server.store, &[]);
    server.store.assert_nothing_stored();
    assert_eq!(server.download(&source).status, 404);
}
