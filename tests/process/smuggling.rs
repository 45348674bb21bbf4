//! Request smuggling: bytes that one program takes for the end of a request and another for the
//! beginning of the next. Behind each odd request stands one that must never be answered where its
//! place in the stream can be doubted; an answer would show the id that it carries.

use waystation_testing::connection::{Connection, head};
use waystation_testing::reply::Reply;
use waystation_testing::{Source, Waystation, archive};

const BODY: &[u8] = b"an archive";
const CHUNKED: &str = "Transfer-Encoding: chunked";
/// [`BODY`], as a chunk and the last one.
const CHUNKS: &str = "a\r\nan archive\r\n0\r\n\r\n";
const SMUGGLED: &str =
    "GET /v1/regions HTTP/1.1\r\nHost: waystation.test\r\nX-Request-Id: smuggled\r\n\r\n";

/// Everything that comes back until the server closes.
fn answers_to(server: &Waystation, request: &[u8]) -> Vec<Reply> {
    let mut connection = Connection::open(server.address);
    connection.try_send(request);
    replies_in(&connection.into_rest())
}

fn replies_in(mut received: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Some((reply, rest)) = Reply::parse(received) {
        replies.push(reply);
        received = rest;
    }
    assert_eq!(received, b"", "half an answer");
    replies
}

fn is_smuggled(replies: &[Reply]) -> bool {
    let ids = replies.iter().map(|reply| reply.header("x-request-id"));
    ids.into_iter().any(|id| id == Some("smuggled"))
}

/// One refusal, the connection closed by the server, and nothing stored.
fn assert_only_refused(server: &Waystation, request: &str) {
    let replies = answers_to(server, request.as_bytes());
    assert_eq!(replies.len(), 1, "{request:?}: {replies:?}");
    assert_eq!(replies[0].status, 400, "{request:?}: {replies:?}");
    assert!(!is_smuggled(&replies), "{request:?}");
    server.store.assert_nothing_stored();
}

/// The bytes that a new source has after a request that is taken, and what was answered.
fn taken(server: &Waystation, headers: &[&str], body: &str) -> (Source, Vec<Reply>) {
    let source = server.create_source();
    let request = head("PUT", &source.upload_path(), headers) + body;
    let replies = answers_to(server, request.as_bytes());
    assert_eq!(replies[0].status, 200, "{headers:?} {body:?}: {replies:?}");
    assert!(!is_smuggled(&replies), "{headers:?} {body:?}");
    (source, replies)
}

#[test]
fn a_coding_that_another_program_may_read_otherwise_is_refused() {
    let server = Waystation::start(&[]);
    let path = server.create_source().upload_path();
    let codings: [&[&str]; 13] = [
        &["Transfer-Encoding: chunked, chunked"],
        &["Transfer-Encoding: identity, chunked"],
        &["Transfer-Encoding: chunked, identity"],
        &["Transfer-Encoding: gzip, chunked"],
        &["Transfer-Encoding: identity"],
        &["Transfer-Encoding: xchunked"],
        &["Transfer-Encoding: \"chunked\""],
        &["Transfer-Encoding: chunked;q=1"],
        &["Transfer-Encoding: ,chunked"],
        &["Transfer-Encoding:"],
        &[CHUNKED, "Transfer-Encoding: identity"],
        &["Transfer-Encoding: identity", CHUNKED],
        &[CHUNKED, CHUNKED],
    ];
    for coding in codings {
        let request = head("PUT", &path, coding) + CHUNKS + SMUGGLED;
        assert_only_refused(&server, &request);
        let with_length = [coding, &["Content-Length: 10"]].concat();
        let request = head("PUT", &path, &with_length) + CHUNKS + SMUGGLED;
        assert_only_refused(&server, &request);
    }
}

#[test]
fn a_header_that_is_not_quite_one_is_refused() {
    let server = Waystation::start(&[]);
    let path = server.create_source().upload_path();
    let lines: [&[&str]; 20] = [
        &["Transfer-Encoding : chunked"],
        &["Transfer-Encoding\t: chunked"],
        &[" Transfer-Encoding: chunked"],
        &["X: y\r\n Transfer-Encoding: chunked"],
        &["Transfer-Encoding:\r\n chunked"],
        &["Transfer-Encoding: chunked\0"],
        &["Transfer-Encoding: \u{b}chunked"],
        &["X: y\rTransfer-Encoding: chunked"],
        &["Content-Length : 10"],
        &["Content-Length: 1 0"],
        &["Content-Length: 10;"],
        &["Content-Length:"],
        &["Content-Length: -10"],
        &["Content-Length: +10"],
        &["Content-Length: 0x0a"],
        &["Content-Length: 10, 11"],
        &["Content-Length: 10", "Content-Length: 11"],
        &["Content-Length: 99999999999999999999"],
        &["Content-Length: \u{b}10"],
        &["Host: another.test", "Content-Length: 10"],
    ];
    for headers in lines {
        let request = head("PUT", &path, headers) + CHUNKS + SMUGGLED;
        assert_only_refused(&server, &request);
    }
    let old = format!("PUT {path} HTTP/1.0\r\n{CHUNKED}\r\n\r\n{CHUNKS}{SMUGGLED}");
    assert_only_refused(&server, &old);
}

#[test]
fn a_chunk_that_is_not_quite_one_is_refused() {
    let server = Waystation::start(&[]);
    let path = server.create_source().upload_path();
    let long_extension = format!("a;{}\r\nan archive\r\n0\r\n\r\n", "x".repeat(20_000));
    let long_trailer = format!("a\r\nan archive\r\n0\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    for chunks in [
        "10000000000000000a\r\nan archive\r\n0\r\n\r\n", // one more digit than a number has
        "-a\r\nan archive\r\n0\r\n\r\n",
        "+a\r\nan archive\r\n0\r\n\r\n",
        "0xa\r\nan archive\r\n0\r\n\r\n",
        " a\r\nan archive\r\n0\r\n\r\n",
        "a b\r\nan archive\r\n0\r\n\r\n",
        "\r\nan archive\r\n0\r\n\r\n",
        "a\nan archive\r\n0\r\n\r\n",
        "a\r\nan archive\n0\r\n\r\n",
        "a\r\nan archive0\r\n\r\n",
        "9\r\nan archive\r\n0\r\n\r\n",
        "b\r\nan archive\r\n0\r\n\r\n",
        "a;x\nan archive\r\n0\r\n\r\n",
        "a;x\rx\nan archive\r\n0\r\n\r\n",
        "a\r\nan archive\r\n0\n\r\n",
        &long_extension,
        &long_trailer,
    ] {
        let request = head("PUT", &path, &[CHUNKED]) + chunks + SMUGGLED;
        assert_only_refused(&server, &request);
    }
}

/// RFC 9112, section 6.3: the chunks count, and after the answer nothing on the connection can be
/// trusted any more.
#[test]
fn after_a_request_with_both_lengths_the_connection_is_closed() {
    let server = Waystation::start(&[]);
    let length = format!("Content-Length: {}", CHUNKS.len() + SMUGGLED.len());
    for headers in [
        [CHUNKED, "Content-Length: 10"],
        ["Content-Length: 10", CHUNKED],
        [CHUNKED, length.as_str()],
        [length.as_str(), CHUNKED],
        ["Content-Length: 0", CHUNKED],
    ] {
        let (source, replies) = taken(&server, &headers, &(CHUNKS.to_owned() + SMUGGLED));
        assert_eq!(replies.len(), 1, "{headers:?}: {replies:?}");
        assert_eq!(server.download(&source).body, BODY, "{headers:?}");
    }
}

#[test]
fn what_is_odd_and_allowed_is_read_as_the_standard_says() {
    let server = Waystation::start(&[]);
    let ends = "Connection: close";
    for chunks in [
        "a;x=\"y;z\\\"\";;=\r\nan archive\r\n0;x\r\n\r\n",
        "A \r\nan archive\r\n0\r\n\r\n",
        "000000000000a\r\nan archive\r\n000\r\n\r\n",
        "2\r\nan\r\n8\r\n archive\r\n0\r\nContent-Length: 3\r\nX-Request-Id: smuggled\r\n\r\n",
    ] {
        let (source, _) = taken(&server, &[CHUNKED, ends], chunks);
        assert_eq!(server.download(&source).body, BODY, "{chunks:?}");
    }
    let twice = ["Content-Length: 10", "Content-Length: 10", ends];
    let (source, _) = taken(&server, &twice, "an archive");
    assert_eq!(server.download(&source).body, BODY);
    let spelled = ["tRANSFER-eNCODING:\t CHUNKED ", ends];
    let (source, _) = taken(&server, &spelled, CHUNKS);
    assert_eq!(server.download(&source).body, BODY);
}

/// Whatever is answered before a body has been read, its bytes are never taken for a request.
#[test]
fn the_body_of_a_refused_request_is_not_the_next_request() {
    let server = Waystation::start(&["--upload-limit", "1MiB"]);
    let source = server.create_and_upload(BODY);
    let wrong = source.upload_path().replace("token=", "token=0");
    let mut long = archive(2 * 1024 * 1024, 1);
    long.extend(SMUGGLED.as_bytes());
    for (method, path) in [
        ("GET", source.download_path()),
        ("HEAD", source.download_path()),
        ("GET", "/".to_owned()),
        ("PUT", wrong),
        ("PUT", source.upload_path()),
        ("DELETE", source.upload_path()),
        ("POST", "/v1/sources".to_owned()),
    ] {
        for expectation in ["X: none", "Expect: 100-continue"] {
            for body in [SMUGGLED.as_bytes(), &long] {
                let length = format!("Content-Length: {}", body.len());
                let mut connection = Connection::open(server.address);
                connection.try_send(head(method, &path, &[&length, expectation]).as_bytes());
                connection.try_send(body);
                connection.end_sending();
                let received = connection.into_rest();
                let text = String::from_utf8_lossy(&received);
                assert!(!text.contains("smuggled"), "{method} {path} {expectation}");
            }
        }
    }
    assert_eq!(server.download(&source).body, BODY);
}
