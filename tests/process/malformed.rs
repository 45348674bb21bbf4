//! What no honest client sends. It is refused, and leaves nothing behind: a request in JSON, bytes that
//! are none with a bare status.

use waystation_testing::connection::{Connection, head};
use waystation_testing::reply::Reply;
use waystation_testing::{Waystation, assert_refused, assert_refused_bare, eventually};

const BODY: &[u8] = b"an archive";

/// Sends all of that, and reads the first answer.
fn ask(server: &Waystation, head: &str, body: &[u8]) -> Reply {
    let mut connection = Connection::open(server.address);
    connection.send(head);
    connection.send(body);
    connection.next_reply()
}

/// Sends the beginning of an upload that will not be one.
fn begin(server: &Waystation, length: &str, body: &[u8]) -> Connection {
    let source = server.create_source();
    let mut connection = Connection::open(server.address);
    connection.send(head("PUT", &source.upload_path(), &[length]));
    connection.send(body);
    connection
}

#[test]
fn a_request_line_of_a_mebibyte_is_refused() {
    let server = Waystation::start(&[]);
    let path = format!("/{}", "a".repeat(1024 * 1024));
    assert_refused_bare(&ask(&server, &head("GET", &path, &[]), b""), 431);
}

#[test]
fn a_body_shorter_than_declared_is_refused_and_leaves_nothing_behind() {
    let server = Waystation::start(&[]);
    let mut connection = begin(&server, "Content-Length: 11", BODY);
    connection.end_sending();
    let error = assert_refused(&connection.next_reply(), 400)["error"].to_string();
    assert!(error.contains("10 bytes of 11"), "{error}");
    server.store.assert_nothing_stored();
}

#[test]
fn a_body_without_its_last_chunk_is_refused_and_leaves_nothing_behind() {
    let server = Waystation::start(&[]);
    let chunked = "Transfer-Encoding: chunked";
    let mut connection = begin(&server, chunked, b"a\r\nan archive\r\n");
    connection.end_sending();
    assert_refused(&connection.next_reply(), 400);
    server.store.assert_nothing_stored();

    let mut connection = begin(&server, chunked, b"no length\r\nan archive\r\n");
    assert_refused(&connection.next_reply(), 400);
    server.store.assert_nothing_stored();
}

#[test]
fn a_client_that_goes_away_in_the_middle_leaves_nothing_behind() {
    let server = Waystation::start(&[]);
    let connection = begin(&server, "Content-Length: 11", BODY);
    eventually("the upload has begun", || {
        server.store.staged_bytes() == Some(BODY.len() as u64)
    });
    drop(connection);
    server.program.await_line("status=400");
    server.store.assert_nothing_stored();
}

#[test]
fn what_follows_a_body_is_not_part_of_it() {
    let server = Waystation::start(&[]);
    let source = server.create_source();
    let mut connection = Connection::open(server.address);
    connection.send(head("PUT", &source.upload_path(), &["Content-Length: 10"]));
    connection.send([BODY, b" and more\r\n\r\n"].concat());
    assert_eq!(connection.next_reply().status, 200);
    assert_refused_bare(&connection.next_reply(), 400);
    assert_eq!(server.download(&source).body, BODY);
}

#[test]
fn bytes_that_are_no_request_are_refused() {
    let server = Waystation::start(&[]);
    for garbage in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), // how TLS begins
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/1.1\r\nno header\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\n\r\n",
    ] {
        let mut connection = Connection::open(server.address);
        connection.send(garbage);
        assert_refused_bare(&connection.next_reply(), 400);
    }
}

#[test]
fn a_head_that_does_not_come_in_time_closes_the_connection() {
    let server = Waystation::start(&["--header-timeout", "2s"]);
    let path = server.create_source().upload_path();
    let whole = head("PUT", &path, &[]);
    for sent in [3, whole.len() - 2] {
        let mut connection = Connection::open(server.address);
        connection.send(&whole[..sent]);
        assert_refused_bare(&connection.next_reply(), 408);
        assert_eq!(connection.into_rest(), b"");
    }
    // A client that has asked nothing gets no answer.
    assert_eq!(Connection::open(server.address).into_rest(), b"");
    server.store.assert_nothing_stored();
}

#[test]
fn a_head_that_breaks_off_closes_the_connection() {
    let server = Waystation::start(&[]);
    let mut connection = Connection::open(server.address);
    connection.send("GET /v1/sour");
    connection.end_sending();
    assert_eq!(connection.into_rest(), b"");
}

/// Closing at once would reset the connection while the client still sends, and its answer be lost.
#[test]
fn a_refusal_reaches_a_client_that_still_sends() {
    let server = Waystation::start(&[]);
    let mut connection = Connection::open(server.address);
    connection.send(b"GET / HTTP/1.1\r\nno header\r\n\r\n");
    for _ in 0..64 {
        connection.send(vec![b'x'; 64 * 1024]);
    }
    assert_refused_bare(&connection.next_reply(), 400);
}

/// The log's queue is limited in lines, so a line has to be limited too.
#[test]
fn a_method_of_any_length_is_one_word_in_the_log() {
    let server = Waystation::start(&["--log", "json"]);
    let method = "BREW".repeat(5_000);
    let head = head(&method, "/v1/sources", &["X-Request-Id: brewed"]);
    assert_refused(&ask(&server, &head, b""), 405);
    let line = server.program.await_line("\"brewed\"");
    assert!(
        line.contains(r#""method":"other""#) && line.len() < 1024,
        "{line}"
    );
}

/// A client may spell it so, and it opens the source.
#[test]
fn an_id_with_an_escaped_character_is_logged_as_it_was_read() {
    let server = Waystation::start(&[]);
    let source = server.create_source();
    let path = source.download_path().replacen('-', "%2d", 1);
    let head = head("GET", &path, &["X-Request-Id: escaped"]);
    assert_refused(&ask(&server, &head, b""), 404);
    let line = server.program.await_line("\"escaped\"");
    assert!(line.contains(&format!("source={}", source.id())), "{line}");
}
