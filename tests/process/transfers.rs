//! The limits that are not on an archive's size: room, transfers at once, the pace of who takes, and
//! the bodies of the API.

use waystation_testing::connection::{Connection, exchange, head};
use waystation_testing::curl::{HELD_ARCHIVE_BYTES, HeldUpload, curl};
use waystation_testing::{Waystation, archive, assert_refused, eventually};

#[test]
fn an_upload_into_the_room_that_is_kept_free_is_refused_and_deleting_goes_on() {
    let lifetime = ["--lifetime", "2s"];
    let server = Waystation::start(&lifetime);
    let source = server.create_and_upload(b"an archive");
    let store = server.kill();
    let flags = [&lifetime[..], &["--keep-free", "1PiB"]].concat();
    let server = Waystation::start_on(store, &flags);

    let reply = server.upload(&server.create_source(), b"another");
    let refusal = assert_refused(&reply, 507);
    assert_eq!(refusal["code"], "store_full");
    assert_eq!(server.store.staged_bytes(), None);
    assert_eq!(server.download(&source).body, b"an archive");
    eventually("what has expired is deleted", || {
        server.store.entries_below("sources").is_empty()
    });
}

#[test]
fn a_transfer_too_many_is_told_to_come_back() {
    let server = Waystation::start(&["--max-transfers", "1"]);
    let (first, second) = (server.create_source(), server.create_source());
    let mut upload = HeldUpload::start(&first.upload_url);
    upload.send(b"an ");
    eventually("the first is under way", || {
        server.store.staged_bytes() > Some(0)
    });

    let reply = server.upload(&second, b"another");
    assert_refused(&reply, 503);
    assert!(reply.header("retry-after").is_some());
    upload.send(b"archive");
    assert_eq!(upload.finish().status, 200);
    assert_eq!(server.download(&first).body, b"an archive");
    eventually("there is room for the second", || {
        server.upload(&second, b"another").status == 200
    });
}

/// Closing a connection while bytes still arrive on it makes the system throw the answer away.
#[test]
fn a_client_that_sends_all_before_it_reads_still_learns_why_it_is_refused() {
    let server = Waystation::start(&["--upload-limit", "1MiB"]);
    let source = server.create_source();
    let body = archive(HELD_ARCHIVE_BYTES, 1);
    let path = source.upload_path();
    assert_refused(&exchange(server.address, "PUT", &path, &body), 413);
    let path = source.download_path();
    assert_refused(&exchange(server.address, "PUT", &path, &body), 403);
    server.store.assert_nothing_stored();
}

#[test]
fn a_client_that_takes_nothing_of_its_download_is_given_up() {
    let server = Waystation::start(&["--idle-timeout", "500ms"]);
    let source = server.create_and_upload(&archive(HELD_ARCHIVE_BYTES, 1));
    let mut connection = Connection::open(server.address);
    connection.send(head("GET", &source.download_path(), &[]));
    server.program.await_line("method=\"GET\"");
    assert!(connection.into_rest().len() < HELD_ARCHIVE_BYTES);
}

#[test]
fn a_body_for_the_api_is_small() {
    let server = Waystation::start(&["--api-body-limit", "1KiB"]);
    let object_of = |bytes: usize| format!("{{\"a\":\"{}\"}}", "a".repeat(bytes - 8));
    for (bytes, status) in [(1024, 201), (1025, 413)] {
        let (bearer, sources) = (server.bearer(), server.url("/v1/sources"));
        let body = object_of(bytes);
        let reply = curl(&["-H", &bearer, "-d", &body, &sources]);
        assert_eq!(reply.status, status, "{reply:?}");
    }
}

#[test]
fn who_is_refused_before_all_was_read_is_told_that_the_connection_closes() {
    let server = Waystation::start(&[]);
    let path = server.create_source().upload_path();
    let (bare, _) = path.split_once('?').unwrap();
    let mut line = Connection::open(server.address);
    // Nothing is left unread of this one.
    line.send(head("PUT", bare, &["Content-Length: 0"]));
    let reply = line.next_reply();
    assert_eq!((reply.status, reply.header("connection")), (403, None));

    line.send(head("PUT", bare, &["Content-Length: 100000"]));
    line.send(archive(100_000, 1));
    let reply = line.next_reply();
    let closes = reply.header("connection") == Some("close");
    assert!(reply.status == 403 && closes, "{reply:?}");
    assert_eq!(line.into_rest(), b"");
}
