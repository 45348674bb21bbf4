//! Stopping: transfers that are under way finish, nothing new begins, and the server ends.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use waystation_testing::connection::{Connection, head};
use waystation_testing::curl::{HELD_ARCHIVE_BYTES, HeldDownload, HeldUpload};
use waystation_testing::{Source, Waystation, archive, eventually};

/// So long that a server which waits for any of these does not end while a test waits for it.
const PATIENT: [&str; 6] = [
    "--drain",
    "1h",
    "--header-timeout",
    "1h",
    "--idle-timeout",
    "1h",
];

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

#[test]
fn signals_of_terminals_and_log_rotations_end_nothing() {
    let server = Waystation::start(&[]);
    let sent = archive(2_000_000, 1);
    let source = server.create_source();
    let mut upload = start_upload(&server, &source, &sent[..1_000_000]);
    for signal in [
        Signal::HUP,
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
        Signal::WINCH,
    ] {
        server.program.signal(signal);
    }
    upload.send(&sent[1_000_000..]);
    let report = upload.finish();
    assert_eq!(report.status, 200, "{report:?}");
    server.stop();
}

#[test]
fn either_signal_ends_an_idle_server() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Waystation::start(&PATIENT);
        tell_to_stop(&server, signal);
        assert_eq!(server.program.await_end(), Some(0));
    }
}

/// The connection is in any state but a transfer.
#[test]
fn connections_on_which_nothing_is_under_way_do_not_hold_up_the_end() {
    let unfinished = "GET / HTTP/1.1\r\nHost: waystation.test\r\n";
    let whole = head("GET", "/", &[]);
    for sent in ["", unfinished, &whole] {
        let server = Waystation::start(&PATIENT);
        let mut connection = Connection::open(server.address);
        connection.send(sent);
        if sent == whole {
            assert_eq!(connection.next_reply().status, 404);
        }
        // Connections are accepted in their order: after this answer that one has been.
        server.create_source();
        server.stop();
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = Waystation::start(&PATIENT);
    let source = server.create_source();
    let _stuck = start_upload(&server, &source, b"the beginning");

    tell_to_stop(&server, Signal::TERM);
    server.program.signal(Signal::TERM);
    assert_eq!(server.program.await_end(), Some(1));
    server.program.await_line("second signal");

    let server = Waystation::start_on(server.store, &[]);
    server.store.assert_nothing_stored();
}

#[test]
fn a_transfer_that_is_stuck_holds_up_the_end_no_longer_than_the_drain() {
    let mut server = Waystation::start(&["--idle-timeout", "1h", "--drain", "1s"]);
    let source = server.create_source();
    let _stuck = start_upload(&server, &source, b"the beginning");

    let told_at = Instant::now();
    tell_to_stop(&server, Signal::TERM);
    assert_eq!(server.program.await_end(), Some(0));
    assert!(told_at.elapsed() >= Duration::from_secs(1));

    let server = Waystation::start_on(server.store, &[]);
    server.store.assert_nothing_stored();
    assert_eq!(server.download(&source).status, 404);
}
