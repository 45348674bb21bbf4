//! What is known of real clients, one test for each: curl as users and their tools call it.

use std::fs;

use waystation_testing::curl::curl;
use waystation_testing::{Source, Waystation, archive, assert_refused};

const MIB: usize = 1024 * 1024;
/// What curl prints when the server has asked for the body.
const WAS_TOLD_TO_GO_ON: &str = "< HTTP/1.1 100 Continue";
/// Makes curl print how much of the body it has sent.
const TELL_SENT: [&str; 2] = ["-w", "%{stderr}sent %{size_upload} bytes"];

fn assert_served(server: &Waystation, source: &Source, archive: &[u8]) {
    let reply = server.download(source);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.body == archive, "{reply:?}");
}

#[test]
fn a_file_is_sent_after_100_continue() {
    let server = Waystation::start(&[]);
    let source = server.create_source();
    let sent = archive(4 * MIB, 1);
    let file = server.store.write_file("archive.tar.gz", &sent);

    let reply = curl(&["-L", "-T", &file, &source.upload_url]);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.trace.contains("> Expect: 100-continue"), "{reply:?}");
    assert!(reply.trace.contains(WAS_TOLD_TO_GO_ON), "{reply:?}");
    assert_eq!(reply.json()["upload"]["size"], 4 * MIB);
    assert_served(&server, &source, &sent);
}

#[test]
fn a_download_that_broke_off_is_resumed() {
    let server = Waystation::start(&[]);
    let sent = archive(MIB, 4);
    let source = server.create_and_upload(&sent);
    let file = server.store.write_file("part", &sent[..MIB / 3]);

    let reply = curl(&["-C", "-", "-o", &file, &source.download_url]);
    assert_eq!(reply.status, 206, "{reply:?}");
    let range = format!("bytes {}-{}/{MIB}", MIB / 3, MIB - 1);
    assert_eq!(reply.header("content-range"), Some(range.as_str()));
    assert!(fs::read(&file).unwrap() == sent);
}

#[test]
fn a_client_that_unpacks_what_is_encoded_gets_the_archive_as_it_was_sent() {
    let server = Waystation::start(&[]);
    let sent = archive(1000, 5);
    let source = server.create_and_upload(&sent);
    assert!(curl(&["--compressed", &source.download_url]).body == sent);
}

#[test]
fn an_archive_over_the_limit_is_refused_before_any_of_it_is_sent() {
    let server = Waystation::start(&["--upload-limit", "1MiB"]);
    let source = server.create_source();
    let file = server.store.write_file("archive", &archive(MIB + 1, 7));
    let up = [
        "-H",
        "Expect: 100-continue",
        "-T",
        &file,
        &source.upload_url,
    ];

    let reply = curl(&[&TELL_SENT[..], &up].concat());
    let error = assert_refused(&reply, 413)["error"].to_string();
    assert!(
        error.contains("1048577 bytes") && error.contains("1048576 bytes"),
        "{error}"
    );
    assert!(!reply.trace.contains(WAS_TOLD_TO_GO_ON), "{reply:?}");
    assert!(reply.trace.contains("sent 0 bytes"), "{reply:?}");
    server.store.assert_nothing_stored();
}

#[test]
fn a_client_that_sends_too_much_unasked_still_reads_why_it_is_refused() {
    let server = Waystation::start(&["--upload-limit", "1MiB"]);
    let file = server.store.write_file("archive", &archive(16 * MIB, 9));
    let unasked = ["-H", "Expect:", "-T", &file];
    let of_unknown_length = ["-H", "Transfer-Encoding: chunked", "-T", &file];
    for up in [&unasked[..], &of_unknown_length] {
        let source = server.create_source();
        let reply = curl(&[up, &[&source.upload_url]].concat());
        assert_refused(&reply, 413);
        server.store.assert_nothing_stored();
    }
}
