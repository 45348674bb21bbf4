//! `PUT upload_url`: what is taken, what is refused, and that a refusal leaves nothing.

use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use md5::Md5;
use sha2::{Digest as _, Sha256, Sha512};

use crate::app::{TestApp, broken, chunked};

const BODY: &[u8] = b"\x1f\x8b\x08 an archive";

fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

#[tokio::test]
async fn the_report_has_these_five_facts() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let answer = app.put(&links, BODY).await;
    assert_eq!(answer.status, 200);
    let expected = serde_json::json!({ "upload": {
        "size": BODY.len(),
        "sha256": hex::encode(Sha256::digest(BODY)),
        "media_type": "application/gzip",
        "uploaded_at": "2027-01-15T08:00:00.000Z",
        "expires_at": "2027-01-15T08:10:00.000Z",
    }});
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn a_chunked_body_is_taken() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let answer = app.put(&links, chunked(&[b"abc", b"", b"def"])).await;
    assert_eq!(answer.json()["upload"]["size"], 6);
    assert_eq!(app.get(&links, &[]).await.body, "abcdef");
}

#[tokio::test]
async fn the_same_bytes_again_are_a_success_and_other_bytes_a_conflict() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let first = app.put(&links, BODY).await;
    let again = app.put(&links, BODY).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.body, first.body);
    let chunked_again = app.put(&links, chunked(&[BODY])).await;
    assert_eq!(chunked_again.body, first.body);

    let mut same_length = BODY.to_vec();
    same_length[5] ^= 1;
    for other in [&same_length[..], b"shorter", &[0; 100]] {
        app.put(&links, other.to_vec())
            .await
            .coded(409, "already_uploaded");
        app.put(&links, chunked(&[other]))
            .await
            .coded(409, "already_uploaded");
    }
    assert_eq!(app.get(&links, &[]).await.body, BODY);
}

#[tokio::test]
async fn two_at_once_end_with_one_archive_and_one_conflict() {
    let app = TestApp::new().await;
    for _ in 0..50 {
        let links = app.create().await;
        let (a, b) = tokio::join!(app.put(&links, "aaaa"), app.put(&links, "bbbb"));
        let stored = app.get(&links, &[]).await.body;
        let (winner, loser) = if stored == "aaaa" { (a, b) } else { (b, a) };
        assert_eq!(winner.status, 200);
        loser.coded(409, "already_uploaded");
    }
}

#[tokio::test]
async fn a_digest_that_is_sent_is_checked() {
    let app = TestApp::new().await;
    let sha256 = base64(Sha256::digest(BODY));
    let sha512 = base64(Sha512::digest(BODY));
    let md5 = base64(Md5::digest(BODY));
    for (name, value) in [
        ("repr-digest", format!("sha-256=:{sha256}:")),
        ("repr-digest", format!("sha-512=:{sha512}:, md5=:{md5}:")),
        ("content-digest", format!("sha-256=:{sha256}:")),
        ("content-md5", md5.clone()),
        ("x-amz-checksum-sha256", sha256.clone()),
        ("repr-digest", "unixsum=:AQ==:".to_owned()),
    ] {
        let links = app.create().await;
        let answer = app.put_with(&links, &[(name, &value)], BODY).await;
        assert_eq!(answer.status, 200, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_digest_of_other_bytes_is_refused_and_nothing_is_stored() {
    let app = TestApp::new().await;
    let sha256 = base64(Sha256::digest(b"other"));
    let true_sha256 = base64(Sha256::digest(BODY));
    let sha512 = base64(Sha512::digest(b"other"));
    for (name, value) in [
        ("repr-digest", format!("sha-256=:{sha256}:")),
        (
            "repr-digest",
            format!("sha-256=:{true_sha256}:, sha-512=:{sha512}:"),
        ),
        ("content-digest", format!("sha-256=:{sha256}:")),
        ("content-md5", base64(Md5::digest(b"other"))),
        ("x-amz-checksum-sha256", sha256.clone()),
    ] {
        let links = app.create().await;
        let answer = app.put_with(&links, &[(name, &value)], BODY).await;
        let text = answer.coded(400, "digest_mismatch");
        assert!(text.contains("nothing was stored"), "{text}");
        app.assert_nothing_stored();
    }
    let links = app.create().await;
    let broken = [("repr-digest", "sha-256=abc")];
    let answer = app.put_with(&links, &broken, BODY).await;
    let text = answer.coded(400, "invalid_digest");
    assert!(text.contains("repr-digest"), "{text}");
    app.assert_nothing_stored();

    assert_eq!(app.put(&links, BODY).await.status, 200);
    let wrong = [("content-digest", format!("sha-256=:{sha256}:"))];
    let wrong = wrong
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let again = app.put_with(&links, &wrong, BODY).await;
    again.coded(400, "digest_mismatch");
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing_and_may_be_sent_again() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let text = app
        .put(&links, broken(b"half"))
        .await
        .error(400, &["error"]);
    assert!(text.contains("4 bytes"), "{text}");
    app.assert_nothing_stored();
    app.get(&links, &[])
        .await
        .error(404, &["error", "resource"]);
    assert_eq!(app.put(&links, BODY).await.status, 200);
}

#[tokio::test]
async fn a_part_of_an_archive_is_not_taken_for_all_of_it() {
    let app = TestApp::new().await;
    let links = app.create().await;
    for range in ["bytes 5-9/10", "bytes 0-4/10", "bytes 0-4/*", "nonsense"] {
        let headers = [("content-range", range)];
        let text = app
            .put_with(&links, &headers, "01234")
            .await
            .error(400, &["error"]);
        assert!(text.contains("Content-Range"), "{text}");
        app.assert_nothing_stored();
    }
    let headers = [("content-range", "bytes 0-4/5")];
    let answer = app.put_with(&links, &headers, "01234").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_part_of_a_resumable_upload_is_not_taken_for_the_whole() {
    let app = TestApp::new().await;
    let links = app.create().await;
    for (name, value) in [
        ("upload-complete", "0"),
        ("upload-incomplete", "?1"),
        ("upload-offset", "5"),
        ("tus-resumable", "1.0.0"),
    ] {
        let answer = app.put_with(&links, &[(name, value)], "01234").await;
        let text = answer.error(400, &["error"]);
        assert!(text.contains(name), "{text}");
        app.assert_nothing_stored();
    }
    let headers = [("upload-complete", "?1"), ("upload-offset", "0")];
    let answer = app.put_with(&links, &headers, "01234").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn an_empty_body_is_no_archive_and_leaves_the_link_open() {
    let app = TestApp::new().await;
    let links = app.create().await;
    for body in [Body::empty(), chunked(&[]), chunked(&[b""])] {
        app.put(&links, body).await.coded(400, "empty");
        app.assert_nothing_stored();
    }
    assert_eq!(app.put(&links, BODY).await.status, 200);
    app.put(&links, "").await.coded(400, "empty");
    assert_eq!(app.get(&links, &[]).await.body, BODY);
}

#[tokio::test]
async fn an_upload_whose_precondition_fails_changes_nothing() {
    let app = TestApp::new().await;
    let links = app.create().await;
    for if_match in ["*", "\"x\""] {
        let answer = app.put_with(&links, &[("if-match", if_match)], BODY).await;
        answer.coded(412, "precondition_failed");
        app.assert_nothing_stored();
    }
    let only_new = [("if-none-match", "*")];
    assert_eq!(app.put_with(&links, &only_new, BODY).await.status, 200);
    let again = app.put_with(&links, &only_new, BODY).await;
    again.coded(412, "precondition_failed");
    let tag = app.get(&links, &[]).await.header("etag").to_owned();
    let same = app.put_with(&links, &[("if-match", &tag)], BODY).await;
    assert_eq!(same.status, 200);
}

#[tokio::test]
async fn no_other_header_has_a_meaning() {
    let app = TestApp::new().await;
    let first = app.create().await;
    app.put(&first, "secret").await;
    let (path, _) = first.download.split_once('?').unwrap();
    let links = app.create().await;
    let headers = [
        ("x-copy-from", path),
        ("x-amz-copy-source", path),
        ("x-object-manifest", path),
        ("x-amz-meta-a", "b"),
        ("if-none-match", "*"),
        ("content-encoding", "gzip"),
        ("content-type", "text/html"),
    ];
    assert_eq!(app.put_with(&links, &headers, "mine").await.status, 200);
    let answer = app.get(&links, &[]).await;
    assert_eq!(answer.body, "mine");
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert!(!answer.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn a_client_that_pauses_has_all_that_it_sent_taken_in() {
    const PIECE: &[u8] = &[7; 900];
    const PIECES: usize = 100;
    let app = TestApp::new().await;
    let links = app.create().await;
    let sent =
        stream::iter((0..PIECES).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(PIECE))));
    let body = Body::from_stream(sent.chain(stream::pending()));
    let is_taken_in = async {
        while app.staged_bytes() < (PIECE.len() * PIECES) as u64 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = app.put(&links, body) => panic!("{answer:?}"),
        taken_in = tokio::time::timeout(Duration::from_secs(30), is_taken_in) => taken_in.unwrap(),
    }
}

/// What would be stored is not the archive: a form around it, or chunks with signatures between.
#[tokio::test]
async fn a_form_and_a_coding_that_nobody_undoes_are_refused_and_the_link_stays_open() {
    let app = TestApp::new().await;
    let links = app.create().await;
    for (name, value) in [
        ("content-type", "multipart/form-data; boundary=x"),
        ("content-type", "Multipart/Form-Data"),
        ("content-encoding", "aws-chunked"),
        ("content-encoding", "gzip, AWS-Chunked"),
        ("content-encoding", "deflate"),
        ("content-encoding", "br"),
        ("x-amz-decoded-content-length", "5"),
    ] {
        let refused = app.put_with(&links, &[(name, value)], "bytes").await;
        let text = refused.error(415, &["error"]);
        assert!(text.contains("curl -T"), "{name}: {value}: {text}");
        app.assert_nothing_stored();
    }
    assert_eq!(app.put(&links, "bytes").await.status, 200);
}

/// It is what was meant, whatever it is called; and no download is labelled, which would unpack it.
#[tokio::test]
async fn an_archive_with_any_other_label_is_taken_as_it_is() {
    let app = TestApp::new().await;
    for (name, value) in [
        ("content-encoding", "gzip"),
        ("content-encoding", "x-gzip"),
        ("content-encoding", "identity"),
        ("content-encoding", "zstd"),
        ("content-encoding", ""),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", ""),
        ("content-type", "\u{e9}"),
    ] {
        for body in ["\u{1f}plain", "\u{1f}\u{8b}zipped"] {
            let links = app.create().await;
            let taken = app.put_with(&links, &[(name, value)], body).await;
            assert_eq!(taken.status, 200, "{name}: {value}");
            let served = app.get(&links, &[]).await;
            assert_eq!(served.body, body);
            assert!(!served.headers.contains_key("content-encoding"));
        }
    }
}
