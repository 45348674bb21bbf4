//! What a connection owes a client that is refused in the middle of a body, and what it does with one that
//! takes nothing.

use waystation_testing::connection::{Connection, head};
use waystation_testing::curl::HELD_ARCHIVE_BYTES;
use waystation_testing::{Waystation, archive};

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
fn a_refusal_before_all_was_read_says_that_the_connection_closes() {
    let server = Waystation::start(&[]);
    let path = server.create_source().upload_path();
    let (bare, _) = path.split_once('?').unwrap();
    let mut line = Connection::open(server.address);
    // Nothing is left unread of this one.
    line.send(head("PUT", bare, &["Content-Length: 0"]));
    let reply = line.next_reply();
    assert_eq!((reply.status, reply.header("connection")), (403, None));

    // More than the system holds: this client reads only when it has sent all.
    let length = format!("Content-Length: {HELD_ARCHIVE_BYTES}");
    line.send(head("PUT", bare, &[&length]));
    line.send(archive(HELD_ARCHIVE_BYTES, 1));
    let reply = line.next_reply();
    let closes = reply.header("connection") == Some("close");
    assert!(reply.status == 403 && closes, "{reply:?}");
    assert_eq!(line.into_rest(), b"");
}

#[test]
fn digests_in_trailers_are_compared_before_anything_is_published() {
    let server = Waystation::start(&[]);
    let sha256 = |text| format!("Repr-Digest: sha-256=:{text}:");
    let right = sha256("ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    let wrong = sha256("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let wrong_md5 = "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==";
    for (announced, trailer, status) in [
        ("Trailer: Repr-Digest", right.as_str(), 200),
        ("Trailer: Repr-Digest", &wrong, 400),
        ("TE: trailers", &wrong, 400),
        ("Trailer: X-Other, content-md5", wrong_md5, 400),
        (
            "Trailer: Content-MD5",
            "Content-MD5: kAFQmDzST7DWlj99KOF/cg==",
            200,
        ),
        ("Trailer: Repr-Digest", "Repr-Digest: sha-256=?", 400),
        // Nobody said that an MD5 would be needed, so there is none to compare it with.
        ("TE: trailers", wrong_md5, 200),
    ] {
        let path = server.create_source().upload_path();
        let mut line = Connection::open(server.address);
        line.send(head(
            "PUT",
            &path,
            &["Transfer-Encoding: chunked", announced],
        ));
        line.send(format!("3\r\nabc\r\n0\r\n{trailer}\r\n\r\n"));
        let reply = line.next_reply();
        assert_eq!(reply.status, status, "{announced}, {trailer}: {reply:?}");
    }
    assert_eq!(server.store.archives().len(), 3);
}
