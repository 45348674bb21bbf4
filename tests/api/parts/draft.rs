//! The IETF draft.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use sha2::{Digest as _, Sha256};

use super::{Attempt, assert_unknown, location_of};
use crate::app::{Answer, LIFETIME, Links, TestApp, UPLOAD_LIMIT, broken, chunked};

const MORE: (&str, &str) = ("upload-complete", "?0");
const ALL: (&str, &str) = ("upload-complete", "?1");
const PART_TYPE: (&str, &str) = ("content-type", "application/partial-upload");
const PROBLEMS: &str = "https://iana.org/assignments/http-problem-types";

fn digest(bytes: &str) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(bytes)))
}

async fn begin<'a>(app: &'a TestApp, links: &Links, headers: &[(&str, &str)]) -> Attempt<'a> {
    let headers = [&[MORE], headers].concat();
    let begun = app.put_with(links, &headers, "").await;
    let url = location_of(links, &begun);
    Attempt { app, url }
}

impl Attempt<'_> {
    async fn patch(
        &self,
        offset: &str,
        end: (&str, &str),
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let headers = [&[PART_TYPE, end, ("upload-offset", offset)], headers].concat();
        self.call(Method::PATCH, &headers, body).await
    }

    async fn head(&self) -> Answer {
        self.call(Method::HEAD, &[], Body::empty()).await
    }
}

#[tokio::test]
async fn an_upload_begins_with_nothing_or_a_part_or_all_of_it() {
    let app = TestApp::new().await;
    let limit = format!("max-size={UPLOAD_LIMIT}, max-age={}", LIFETIME.as_secs());
    for (method, body, offset) in [
        (Method::PUT, "", "0"),
        (Method::POST, "", "0"),
        (Method::PUT, "abc", "3"),
        (Method::POST, "abc", "3"),
    ] {
        let links = app.create().await;
        let headers = [
            MORE,
            ("upload-length", "6"),
            ("upload-draft-interop-version", "8"),
        ];
        let begun = app.call(method, &links.upload, &headers, body).await;
        let url = location_of(&links, &begun);
        assert_eq!(begun.header("upload-offset"), offset);
        assert_eq!(begun.header("upload-complete"), "?0");
        assert_eq!(begun.header("upload-limit"), limit);
        let upload = Attempt { app: &app, url };
        let rest = &"abcdef"[offset.parse().unwrap()..];
        assert_eq!(upload.patch(offset, ALL, &[], rest).await.status, 200);
        assert_eq!(app.get(&links, &[]).await.body, "abcdef");
    }
    for method in [Method::PUT, Method::POST] {
        let links = app.create().await;
        let whole = app.call(method, &links.upload, &[ALL], "abcdef").await;
        assert_eq!(whole.status, 200);
        assert_eq!(whole.header("upload-complete"), "?1");
        assert_eq!(whole.body, app.put(&links, "abcdef").await.body);
    }
}

#[tokio::test]
async fn the_last_part_is_answered_with_the_report_of_a_put() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let upload = begin(&app, &links, &[("upload-length", "6")]).await;
    let part = upload.patch("0", MORE, &[], "abc").await;
    assert_eq!(part.status, 204);
    assert_eq!(part.header("upload-complete"), "?0");
    assert_eq!(part.header("upload-offset"), "3");
    let head = upload.head().await;
    assert_eq!(head.status, 204);
    for (name, value) in [
        ("upload-offset", "3"),
        ("upload-complete", "?0"),
        ("upload-length", "6"),
    ] {
        assert_eq!(head.header(name), value);
    }
    assert!(head.header("cache-control").contains("no-store"));
    assert!(head.header("upload-limit").contains("max-age="));
    // All bytes, and not yet the end.
    assert_eq!(upload.patch("3", MORE, &[], "def").await.status, 204);
    app.get(&links, &[])
        .await
        .error(404, &["error", "resource"]);
    let last = upload.patch("6", ALL, &[], "").await;
    assert_eq!(last.status, 200);
    assert_eq!(last.header("upload-complete"), "?1");
    assert_eq!(last.header("upload-offset"), "6");
    assert_eq!(app.get(&links, &[]).await.body, "abcdef");
    // The answer was lost.
    let head = upload.head().await;
    assert_eq!(
        (head.status.as_u16(), head.header("upload-complete")),
        (204, "?1")
    );
    let again = upload.patch("6", ALL, &[], "").await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &last.body));
    assert_eq!(app.put(&links, "abcdef").await.body, last.body);
}

#[tokio::test]
async fn an_archive_of_unknown_length_ends_with_its_last_part() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let upload = begin(&app, &links, &[]).await;
    assert!(!upload.head().await.headers.contains_key("upload-length"));
    upload.patch("0", MORE, &[], chunked(&[b"ab", b"c"])).await;
    let last = upload.patch("3", ALL, &[], chunked(&[b"d", b"e"])).await;
    assert_eq!(last.status, 200, "{last:?}");
    assert_eq!(app.get(&links, &[]).await.body, "abcde");
}

#[tokio::test]
async fn an_empty_archive_is_none() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let upload = begin(&app, &links, &[]).await;
    upload.patch("0", ALL, &[], "").await.coded(400, "empty");
    let headers = [MORE, ("upload-length", "0")];
    app.put_with(&links, &headers, "").await.coded(400, "empty");
}

#[tokio::test]
async fn another_offset_is_refused_with_the_right_one() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let upload = begin(&app, &links, &[("upload-length", "6")]).await;
    upload.patch("0", MORE, &[], "abc").await;
    let refused = upload.patch("2", MORE, &[], "x").await;
    assert_eq!(refused.status, 409);
    assert_eq!(refused.header("upload-offset"), "3");
    assert_eq!(refused.header("content-type"), "application/problem+json");
    let json: serde_json::Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(
        json["type"],
        format!("{PROBLEMS}#mismatching-upload-offset")
    );
    assert_eq!(json["expected-offset"], 3);
    assert_eq!(json["provided-offset"], 2);
    assert_eq!(json["code"], "wrong_offset");
    assert!(json["error"].as_str().unwrap().contains("begin at 3"));
}

#[tokio::test]
async fn lengths_that_disagree_end_the_upload() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let long = ("upload-length", "7");
    for (end, headers, body) in [
        (MORE, vec![], Body::from("defg")),
        (MORE, vec![], chunked(&[b"defg"])),
        (ALL, vec![], Body::from("de")),
        (ALL, vec![], chunked(&[b"de"])),
        (ALL, vec![], Body::empty()),
        (MORE, vec![long], Body::from("d")),
    ] {
        let upload = begin(&app, &links, &[("upload-length", "6")]).await;
        upload.patch("0", MORE, &[], "abc").await;
        let refused = upload.patch("3", end, &headers, body).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        let json: serde_json::Value = serde_json::from_slice(&refused.body).unwrap();
        assert_eq!(
            json["type"],
            format!("{PROBLEMS}#inconsistent-upload-length")
        );
        assert_unknown(&upload.patch("3", MORE, &[], "d").await);
        app.assert_nothing_stored();
    }
    let upload = begin(&app, &links, &[]).await;
    upload.patch("0", MORE, &[], "abc").await;
    let shorter = [("upload-length", "2")];
    let refused = upload.patch("3", MORE, &shorter, "").await;
    assert_eq!(refused.status, 400);
    assert_unknown(&upload.patch("3", MORE, &[], "d").await);
}

#[tokio::test]
async fn all_of_it_at_once_is_as_long_as_it_says() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let headers = [ALL, ("upload-length", "6")];
    for method in [Method::PUT, Method::POST] {
        for body in [
            Body::from("abc"),
            chunked(&[b"ab", b"c"]),
            Body::from("abcdefg"),
            chunked(&[b"abcd", b"efg"]),
        ] {
            let method = method.clone();
            let refused = app.call(method, &links.upload, &headers, body).await;
            assert_eq!(refused.status, 400, "{refused:?}");
            let json: serde_json::Value = serde_json::from_slice(&refused.body).unwrap();
            assert_eq!(
                json["type"],
                format!("{PROBLEMS}#inconsistent-upload-length")
            );
            app.assert_nothing_stored();
        }
    }
    let unreadable = [ALL, ("upload-length", "x")];
    let refused = app.put_with(&links, &unreadable, "abc").await;
    refused.error(400, &["error"]);
    let whole = app.put_with(&links, &headers, chunked(&[b"abc", b"def"]));
    assert_eq!(whole.await.status, 200);
    // A part of what is there is not what is there, either.
    let again = app.put_with(&links, &headers, chunked(&[b"abc"])).await;
    assert_eq!(again.status, 400);
    // Without the other header it is a plain upload, to which this one means nothing.
    let links = app.create().await;
    let plain = app.put_with(&links, &[("upload-length", "6")], "abc");
    assert_eq!(plain.await.status, 200);
}

#[tokio::test]
async fn what_is_no_part_is_refused() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let upload = begin(&app, &links, &[]).await;
    let offset = ("upload-offset", "0");
    for (headers, status) in [
        (vec![PART_TYPE, offset], 400),
        (vec![PART_TYPE, offset, ("upload-complete", "1")], 400),
        (vec![PART_TYPE, offset, MORE, ALL], 400),
        (vec![PART_TYPE, MORE], 400),
        (vec![PART_TYPE, MORE, ("upload-offset", "a")], 400),
        (vec![MORE, offset], 415),
        (
            vec![
                MORE,
                offset,
                ("content-type", "application/offset+octet-stream"),
            ],
            415,
        ),
    ] {
        let refused = upload.call(Method::PATCH, &headers, "abc").await;
        refused.error(status, &["error"]);
    }
    // The link itself is no attempt.
    let headers = [PART_TYPE, MORE, offset];
    let refused = app
        .call(Method::PATCH, &links.upload, &headers, "abc")
        .await;
    refused.error(405, &["error"]);
    for name in ["x", "", "00000000-0000-0000-0000-000000000000"] {
        let url = format!("{}&attempt={name}", links.upload);
        assert_unknown(&app.call(Method::PATCH, &url, &headers, "abc").await);
        let head = app.call(Method::HEAD, &url, &[], "").await;
        assert_eq!(head.status, 404);
    }
    for headers in [
        [MORE, ("content-range", "bytes 0-2/6")],
        [MORE, ("upload-offset", "3")],
    ] {
        app.put_with(&links, &headers, "abc")
            .await
            .error(400, &["error"]);
    }
    let headers = [MORE, ("content-type", "multipart/form-data")];
    app.put_with(&links, &headers, "abc")
        .await
        .error(415, &["error"]);
    app.call(Method::POST, &links.upload, &[], "abc")
        .await
        .error(405, &["error"]);
}

#[tokio::test]
async fn digests_are_those_of_a_part_or_of_all_of_it() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let (whole, part, wrong) = (digest("abcdef"), digest("abc"), digest("other"));
    let upload = begin(&app, &links, &[("repr-digest", &whole)]).await;
    let refused = upload
        .patch("0", MORE, &[("content-digest", &wrong)], "abc")
        .await;
    refused.coded(400, "part_digest_mismatch");
    assert_eq!(upload.head().await.header("upload-offset"), "0");
    let headers = [("content-digest", part.as_str())];
    assert_eq!(upload.patch("0", MORE, &headers, "abc").await.status, 204);
    let broken_off = upload
        .patch("3", MORE, &[("content-digest", &whole)], broken(b"de"))
        .await;
    broken_off.error(400, &["error"]);
    assert_eq!(upload.head().await.header("upload-offset"), "3");
    assert_eq!(upload.patch("3", ALL, &[], "def").await.status, 200);

    for (begun_with, ended_with) in [(&wrong, &whole), (&whole, &wrong)] {
        let links = app.create().await;
        let upload = begin(&app, &links, &[("repr-digest", begun_with)]).await;
        let end = [("repr-digest", ended_with.as_str())];
        let refused = upload.patch("0", ALL, &end, "abcdef").await;
        refused.coded(400, "digest_mismatch");
        assert_unknown(&upload.patch("6", ALL, &[], "").await);
    }
    let links = app.create().await;
    let headers = [MORE, ("repr-digest", "sha-256=abc")];
    app.put_with(&links, &headers, "")
        .await
        .coded(400, "invalid_digest");
}

#[tokio::test]
async fn a_cancelled_upload_is_gone() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let upload = begin(&app, &links, &[]).await;
    upload.patch("0", MORE, &[], "abc").await;
    assert_eq!(upload.call(Method::DELETE, &[], "").await.status, 204);
    assert_unknown(&upload.call(Method::DELETE, &[], "").await);
    app.assert_nothing_stored();
}

#[tokio::test]
async fn a_first_part_that_is_not_taken_says_where_to_go_on() {
    let app = TestApp::new().await;
    let wrong = digest("other");
    for (method, headers, body, kept) in [
        (Method::PUT, vec![], broken(b"abc"), "3"),
        (Method::POST, vec![], broken(b"abc"), "3"),
        (
            Method::PUT,
            vec![("content-digest", wrong.as_str())],
            Body::from("abc"),
            "0",
        ),
    ] {
        let links = app.create().await;
        let headers = [vec![MORE], headers].concat();
        let refused = app.call(method, &links.upload, &headers, body).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        let url = refused.header("location");
        let url = url
            .strip_prefix("http://127.0.0.1:8080")
            .unwrap()
            .to_owned();
        let upload = Attempt { app: &app, url };
        assert_eq!(upload.head().await.header("upload-offset"), kept);
    }
    // Of what has ended nothing is told.
    let links = app.create().await;
    let refused = app.put_with(&links, &[MORE, ("upload-length", "2")], "abc");
    let refused = refused.await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(!refused.headers.contains_key("location"));
}
