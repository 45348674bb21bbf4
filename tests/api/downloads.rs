//! `GET` and `HEAD download_url`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use sha2::{Digest as _, Sha256};

use crate::app::{Answer, Links, TestApp};

const BODY: &[u8] = b"\x1f\x8b\x08 an archive";

async fn uploaded() -> (TestApp, Links) {
    let app = TestApp::new().await;
    let links = app.create().await;
    assert_eq!(app.put(&links, BODY).await.status, 200);
    (app, links)
}

fn etag() -> String {
    format!("\"{}\"", hex::encode(Sha256::digest(BODY)))
}

fn names(answer: &Answer) -> Vec<String> {
    let mut names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_download_has_the_bytes_and_these_headers() {
    let (app, links) = uploaded().await;
    let answer = app.get(&links, &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, BODY);
    let id = links.download.split(['/', '?']).nth(3).unwrap();
    let digest = STANDARD.encode(Sha256::digest(BODY));
    for (name, value) in [
        ("accept-ranges", "bytes".to_owned()),
        ("cache-control", "private, no-store".to_owned()),
        (
            "content-disposition",
            format!("attachment; filename=\"{id}.tar.gz\""),
        ),
        ("content-length", BODY.len().to_string()),
        ("content-type", "application/gzip".to_owned()),
        ("etag", etag()),
        ("last-modified", "Fri, 15 Jan 2027 08:00:00 GMT".to_owned()),
        ("repr-digest", format!("sha-256=:{digest}:")),
        ("x-content-type-options", "nosniff".to_owned()),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    assert_eq!(names(&answer).len(), 10, "and x-request-id: {answer:?}");
}

#[tokio::test]
async fn head_has_the_same_headers_and_no_body() {
    let (app, links) = uploaded().await;
    let (get, head) = (app.get(&links, &[]).await, app.head(&links).await);
    assert_eq!(head.status, 200);
    assert_eq!(head.body, "");
    assert_eq!(names(&head), names(&get));
    assert_eq!(head.header("content-length"), get.header("content-length"));
}

#[tokio::test]
async fn a_range_is_a_part_with_the_headers_of_the_whole() {
    let (app, links) = uploaded().await;
    let answer = app.get(&links, &[("range", "bytes=3-6")]).await;
    assert_eq!(answer.status, 206);
    assert_eq!(answer.body, &BODY[3..7]);
    assert_eq!(answer.header("content-range"), "bytes 3-6/14");
    assert_eq!(answer.header("content-length"), "4");
    assert_eq!(answer.header("etag"), etag());
    assert_eq!(answer.header("content-type"), "application/gzip");
}

#[tokio::test]
async fn a_range_that_makes_no_sense_is_refused_with_the_length() {
    let (app, links) = uploaded().await;
    for range in ["bytes=14-", "bytes=5-2", "bytes=x"] {
        let answer = app.get(&links, &[("range", range)]).await;
        let text = answer.error(416, &["error"]);
        assert!(text.contains("14 bytes"), "{text}");
        assert_eq!(answer.header("content-range"), "bytes */14");
    }
}

#[tokio::test]
async fn a_client_that_has_the_archive_gets_304() {
    let (app, links) = uploaded().await;
    let answer = app.get(&links, &[("if-none-match", &etag())]).await;
    assert_eq!(answer.status, 304);
    assert_eq!(answer.body, "");
    assert_eq!(answer.header("etag"), etag());
    assert_eq!(answer.header("content-length"), "14");
    let headers = [("if-none-match", etag())];
    let headers = headers.each_ref().map(|(name, tag)| (*name, tag.as_str()));
    let head = app.call(Method::HEAD, &links.download, &headers, "").await;
    assert_eq!(head.status, 304);
}

#[tokio::test]
async fn a_precondition_that_fails_is_reported_in_json() {
    let (app, links) = uploaded().await;
    let other = [("if-match", "\"other\"")];
    let answer = app.get(&links, &other).await;
    answer.coded(412, "precondition_failed");
    let head = app.call(Method::HEAD, &links.download, &other, "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (412, 0));
}

#[tokio::test]
async fn the_media_type_comes_from_the_bytes() {
    let app = TestApp::new().await;
    for (bytes, media_type, extension) in [
        (&b"\x1f\x8b"[..], "application/gzip", ".tar.gz"),
        (b"PK\x03\x04", "application/zip", ".zip"),
        (b"\x28\xb5\x2f\xfd", "application/zstd", ".tar.zst"),
        (b"\xfd7zXZ\x00", "application/x-xz", ".tar.xz"),
        (b"BZh9", "application/x-bzip2", ".tar.bz2"),
        (b"\x04\x22\x4d\x18", "application/x-lz4", ".tar.lz4"),
        (b"<html>", "application/octet-stream", ".bin"),
    ] {
        let links = app.create().await;
        let headers = [("content-type", "text/html")];
        app.put_with(&links, &headers, bytes.to_vec()).await;
        let answer = app.get(&links, &[]).await;
        assert_eq!(answer.header("content-type"), media_type);
        let disposition = answer.header("content-disposition");
        assert!(disposition.ends_with(&format!("{extension}\"")));
    }
}
