//! tus 1.0.

use axum::body::Body;
use http::Method;

use super::{Attempt, assert_unknown, location_of};
use crate::app::{Answer, LIFETIME, Links, TestApp, UPLOAD_LIMIT, broken, chunked};

const VERSION: (&str, &str) = ("tus-resumable", "1.0.0");
const PART_TYPE: (&str, &str) = ("content-type", "application/offset+octet-stream");
const EXPIRES: &str = "Fri, 15 Jan 2027 08:10:00 GMT";

async fn try_begin(app: &TestApp, links: &Links, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[VERSION], headers].concat();
    app.call(Method::POST, &links.upload, &headers, Body::empty())
        .await
}

async fn begin<'a>(app: &'a TestApp, links: &Links, headers: &[(&str, &str)]) -> Attempt<'a> {
    let begun = try_begin(app, links, headers).await;
    assert_eq!(begun.header("tus-resumable"), "1.0.0");
    assert_eq!(begun.header("upload-expires"), EXPIRES);
    let url = location_of(links, &begun);
    Attempt { app, url }
}

impl Attempt<'_> {
    async fn tus_patch(&self, offset: &str, body: impl Into<Body>) -> Answer {
        let headers = [VERSION, PART_TYPE, ("upload-offset", offset)];
        self.call(Method::PATCH, &headers, body).await
    }

    async fn tus_head(&self) -> Answer {
        self.call(Method::HEAD, &[VERSION], Body::empty()).await
    }
}

#[tokio::test]
async fn a_link_says_what_it_can_do() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let asked = app
        .call(Method::OPTIONS, &links.upload, &[], Body::empty())
        .await;
    assert_eq!(asked.status, 204);
    let limit = format!("max-size={UPLOAD_LIMIT}, max-age={}", LIFETIME.as_secs());
    for (name, value) in [
        ("allow", "GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS"),
        ("upload-limit", &limit),
        ("tus-resumable", "1.0.0"),
        ("tus-version", "1.0.0"),
        ("tus-extension", "creation,expiration,termination"),
        ("tus-max-size", &UPLOAD_LIMIT.to_string()),
    ] {
        assert_eq!(asked.header(name), value, "{name}");
    }
    let stranger = format!("{}0", links.upload);
    let asked = app.call(Method::OPTIONS, &stranger, &[], Body::empty());
    asked.await.coded(403, "invalid_token");
}

#[tokio::test]
async fn an_archive_in_parts_is_seen_once_its_last_byte_has_come() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let metadata = ("upload-metadata", "filename YQ==,is_confidential");
    let upload = begin(&app, &links, &[("upload-length", "9"), metadata]).await;
    for (offset, part) in [("0", "abc"), ("3", ""), ("3", "def")] {
        let answer = upload.tus_patch(offset, part).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        assert_eq!(answer.header("upload-expires"), EXPIRES);
        let told = answer.header("upload-offset").to_owned();
        let head = upload.tus_head().await;
        assert_eq!(head.status, 200);
        assert_eq!(head.header("upload-offset"), told);
        assert_eq!(head.header("upload-length"), "9");
        assert_eq!(head.header("upload-metadata"), metadata.1);
        assert!(head.header("cache-control").contains("no-store"));
        app.get(&links, &[])
            .await
            .error(404, &["error", "resource"]);
    }
    let last = upload.tus_patch("6", chunked(&[b"g", b"hi"])).await;
    assert_eq!(
        (last.status.as_u16(), last.header("upload-offset")),
        (204, "9")
    );
    assert_eq!(app.get(&links, &[]).await.body, "abcdefghi");
    // The answer was lost.
    assert_eq!(upload.tus_head().await.header("upload-offset"), "9");
    let again = upload.tus_patch("9", "").await;
    assert_eq!(
        (again.status.as_u16(), again.header("upload-offset")),
        (204, "9")
    );
    assert_eq!(app.put(&links, "abcdefghi").await.status, 200);
}

#[tokio::test]
async fn a_length_may_be_said_with_the_last_part() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let upload = begin(&app, &links, &[("upload-defer-length", "1")]).await;
    upload.tus_patch("0", "abc").await;
    let head = upload.tus_head().await;
    assert_eq!(head.header("upload-defer-length"), "1");
    assert!(!head.headers.contains_key("upload-length"));
    let headers = [
        VERSION,
        PART_TYPE,
        ("upload-offset", "3"),
        ("upload-length", "5"),
    ];
    let last = upload.call(Method::PATCH, &headers, "de").await;
    assert_eq!(last.status, 204);
    assert_eq!(app.get(&links, &[]).await.body, "abcde");
}

#[tokio::test]
async fn a_beginning_that_makes_no_sense_is_refused() {
    let app = TestApp::new().await;
    let links = app.create().await;
    for headers in [
        vec![],
        vec![("upload-length", "1"), ("upload-defer-length", "1")],
        vec![("upload-defer-length", "2")],
        vec![("upload-length", "-1")],
        vec![("upload-length", "+1")],
        vec![("upload-length", "99999999999999999999")],
        vec![("upload-length", "1"), ("upload-concat", "partial")],
    ] {
        let refused = try_begin(&app, &links, &headers).await;
        refused.error(400, &["error"]);
        assert_eq!(refused.header("tus-resumable"), "1.0.0");
    }
    let empty = try_begin(&app, &links, &[("upload-length", "0")]).await;
    empty.coded(400, "empty");
    let version = [("tus-resumable", "0.2.2"), ("upload-length", "1")];
    let other = app
        .call(Method::POST, &links.upload, &version, Body::empty())
        .await;
    other.error(412, &["error"]);
    assert_eq!(other.header("tus-version"), "1.0.0");
    app.assert_nothing_stored();
}

#[tokio::test]
async fn metadata_is_kept_up_to_its_limit() {
    let app = TestApp::new().await;
    for (length, status) in [(2048, 201), (2049, 400)] {
        let links = app.create().await;
        let metadata = "a".repeat(length);
        let headers = [("upload-length", "1"), ("upload-metadata", &*metadata)];
        assert_eq!(try_begin(&app, &links, &headers).await.status, status);
    }
}

#[tokio::test]
async fn a_part_that_does_not_fit_is_refused_and_the_upload_goes_on() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let upload = begin(&app, &links, &[("upload-length", "6")]).await;
    upload.tus_patch("0", "abc").await;
    for offset in ["0", "2", "4", "6"] {
        let refused = upload.tus_patch(offset, "x").await;
        assert_eq!(refused.status, 409, "{refused:?}");
        assert_eq!(refused.header("upload-offset"), "3");
        assert_eq!(refused.header("tus-resumable"), "1.0.0");
    }
    for offset in ["", "x", "-1", "3, 3"] {
        upload.tus_patch(offset, "x").await.error(400, &["error"]);
    }
    for content_type in ["application/octet-stream", "application/partial-upload"] {
        let headers = [
            VERSION,
            ("content-type", content_type),
            ("upload-offset", "3"),
        ];
        let refused = upload.call(Method::PATCH, &headers, "x").await;
        refused.error(415, &["error"]);
    }
    let headers = [
        ("tus-resumable", "1.0.1"),
        PART_TYPE,
        ("upload-offset", "3"),
    ];
    let refused = upload.call(Method::PATCH, &headers, "x").await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("tus-version")),
        (412, "1.0.0")
    );
    assert_eq!(upload.tus_patch("3", "def").await.status, 204);
    assert_eq!(app.get(&links, &[]).await.body, "abcdef");
}

#[tokio::test]
async fn a_part_that_breaks_off_is_kept_as_far_as_it_came() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let upload = begin(&app, &links, &[("upload-length", "6")]).await;
    let text = upload
        .tus_patch("0", broken(b"abcd"))
        .await
        .error(400, &["error"]);
    assert!(text.contains("first 4 bytes"), "{text}");
    assert_eq!(upload.tus_head().await.header("upload-offset"), "4");
    assert_eq!(upload.tus_patch("4", "ef").await.status, 204);
    assert_eq!(app.get(&links, &[]).await.body, "abcdef");
}

#[tokio::test]
async fn more_than_was_announced_ends_the_upload() {
    let app = TestApp::new().await;
    let links = app.create().await;
    for body in [Body::from("abcd"), chunked(&[b"ab", b"cd"])] {
        let upload = begin(&app, &links, &[("upload-length", "3")]).await;
        let refused = upload.tus_patch("0", body).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        let type_of = refused.header("content-type");
        assert_eq!(type_of, "application/problem+json");
        assert_unknown(&upload.tus_patch("0", "abc").await);
        app.assert_nothing_stored();
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_limit() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let limit = |answer: &Answer| answer.header("upload-limit").to_owned();
    let length = (UPLOAD_LIMIT + 1).to_string();
    let refused = try_begin(&app, &links, &[("upload-length", &length)]).await;
    refused.error(413, &["error"]);
    assert!(limit(&refused).starts_with(&format!("max-size={UPLOAD_LIMIT}")));
    let length = UPLOAD_LIMIT.to_string();
    assert_eq!(
        try_begin(&app, &links, &[("upload-length", &length)])
            .await
            .status,
        201
    );

    let upload = begin(&app, &links, &[("upload-defer-length", "1")]).await;
    let most = usize::try_from(UPLOAD_LIMIT).unwrap();
    for body in [
        Body::from(vec![0; most + 1]),
        chunked(&[&vec![0; most], b"x"]),
    ] {
        let refused = upload.tus_patch("0", body).await;
        refused.error(413, &["error"]);
        assert!(!limit(&refused).is_empty());
    }
    assert_eq!(upload.tus_patch("0", vec![0; most]).await.status, 204);
}

#[tokio::test]
async fn a_cancelled_upload_is_gone() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let upload = begin(&app, &links, &[("upload-length", "6")]).await;
    upload.tus_patch("0", "abc").await;
    let cancelled = upload.call(Method::DELETE, &[VERSION], "").await;
    assert_eq!(cancelled.status, 204);
    assert_eq!(cancelled.header("tus-resumable"), "1.0.0");
    app.assert_nothing_stored();
    for method in [Method::DELETE, Method::PATCH] {
        let headers = [VERSION, PART_TYPE, ("upload-offset", "0")];
        assert_unknown(&upload.call(method, &headers, "").await);
    }
    let head = upload.tus_head().await;
    assert_eq!(head.status, 404);
    assert!(!head.headers.contains_key("upload-offset"));
    // What was published can no longer be.
    let upload = begin(&app, &links, &[("upload-length", "1")]).await;
    upload.tus_patch("0", "a").await;
    let late = upload.call(Method::DELETE, &[VERSION], "").await;
    late.coded(409, "already_uploaded");
}
