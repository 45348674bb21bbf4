//! What holds in any dialect: expiry, tokens, room, limits, and of two requests the newer one.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Method;
use tokio::sync::mpsc;

use super::{Attempt, assert_unknown, location_of};
use crate::app::{Answer, LIFETIME, Links, Settings, TestApp, stuck};

const MORE: (&str, &str) = ("upload-complete", "?0");
const ALL: (&str, &str) = ("upload-complete", "?1");
const PART_TYPE: (&str, &str) = ("content-type", "application/partial-upload");

async fn try_begin(app: &TestApp, links: &Links, length: u64) -> Answer {
    let length = length.to_string();
    app.put_with(links, &[MORE, ("upload-length", &length)], "")
        .await
}

async fn begin<'a>(app: &'a TestApp, links: &Links, length: u64) -> Attempt<'a> {
    let url = location_of(links, &try_begin(app, links, length).await);
    Attempt { app, url }
}

async fn patch(upload: &Attempt<'_>, offset: u64, body: impl Into<Body>) -> Answer {
    let offset = offset.to_string();
    let headers = [PART_TYPE, MORE, ("upload-offset", offset.as_str())];
    upload.call(Method::PATCH, &headers, body).await
}

async fn offset(upload: &Attempt<'_>) -> String {
    let head = upload.call(Method::HEAD, &[], "").await;
    head.header("upload-offset").to_owned()
}

#[tokio::test]
async fn an_expired_or_foreign_link_begins_nothing_and_goes_on_with_nothing() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let upload = begin(&app, &links, 6).await;
    patch(&upload, 0, "abc").await;
    let foreign = Links {
        upload: links.upload.replace("token=", "token=0"),
        ..links.clone()
    };
    try_begin(&app, &foreign, 6)
        .await
        .coded(403, "invalid_token");
    let url = upload.url.replace("token=", "token=0");
    let stranger = Attempt { app: &app, url };
    patch(&stranger, 3, "def").await.coded(403, "invalid_token");
    // The token of a download does not do.
    let (_, attempt) = upload.url.split_once('&').unwrap();
    let url = format!("{}&{attempt}", links.download);
    let reader = Attempt { app: &app, url };
    patch(&reader, 3, "def").await.coded(403, "invalid_token");
    // Nor does another source's link.
    let other = app.create().await;
    let url = format!("{}&{attempt}", other.upload);
    assert_unknown(&patch(&Attempt { app: &app, url }, 3, "def").await);

    app.clock.advance(LIFETIME);
    for answer in [
        patch(&upload, 3, "def").await,
        try_begin(&app, &links, 6).await,
        upload.call(Method::DELETE, &[], "").await,
    ] {
        assert_eq!(answer.status, 410, "{answer:?}");
    }
    app.store
        .sweep(crate::app::NOW.after(LIFETIME))
        .await
        .unwrap();
    app.assert_nothing_stored();
}

#[tokio::test]
async fn a_source_that_expires_while_a_part_comes_ends_it() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let upload = begin(&app, &links, 6).await;
    let expire = async {
        until_sent(&app, 3).await;
        app.clock.advance(LIFETIME);
    };
    let (answer, ()) = tokio::join!(patch(&upload, 0, stuck(b"abc")), expire);
    assert_eq!(answer.status, 410);
}

/// Waits until so many bytes of an upload in parts are in the store.
async fn until_sent(app: &TestApp, bytes: u64) {
    let sent = async {
        while app.bytes_in_attempts() < bytes {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), sent)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_newer_request_ends_the_older_one_and_goes_on_behind_it() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let upload = begin(&app, &links, 6).await;
    let newer = async {
        until_sent(&app, 3).await;
        assert_eq!(offset(&upload).await, "3");
    };
    let (older, ()) = tokio::join!(patch(&upload, 0, stuck(b"abc")), newer);
    older.coded(409, "superseded");
    let last = [PART_TYPE, ALL, ("upload-offset", "3")];
    assert_eq!(upload.call(Method::PATCH, &last, "def").await.status, 200);
    assert_eq!(app.get(&links, &[]).await.body, "abcdef");
}

#[tokio::test]
async fn a_new_beginning_ends_the_one_before_it() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let older = begin(&app, &links, 6).await;
    let newer = async {
        until_sent(&app, 3).await;
        begin(&app, &links, 6).await
    };
    let (ended, newer) = tokio::join!(patch(&older, 0, stuck(b"abc")), newer);
    ended.coded(409, "superseded");
    assert_unknown(&patch(&older, 3, "def").await);
    assert_eq!(offset(&newer).await, "0");
}

#[tokio::test]
async fn what_a_client_had_sent_before_it_went_away_is_kept() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let upload = begin(&app, &links, 300_000 / 4).await;
    let pieces = (0..30).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[7; 2000])));
    let body = Body::from_stream(stream::iter(pieces).chain(stream::pending()));
    tokio::select! {
        answer = patch(&upload, 0, body) => panic!("{answer:?}"),
        () = until_sent(&app, 60_000) => {}
    }
    assert_eq!(offset(&upload).await, "60000");
}

#[tokio::test]
async fn other_bytes_that_were_published_meanwhile_stay() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let upload = begin(&app, &links, 6).await;
    patch(&upload, 0, "abc").await;
    app.put(&links, "other!").await;
    patch(&upload, 3, "def")
        .await
        .coded(409, "already_uploaded");
    let head = upload.call(Method::HEAD, &[], "").await;
    assert_eq!(head.status, 409);
    let cancelled = upload.call(Method::DELETE, &[], "").await;
    cancelled.coded(409, "already_uploaded");
    try_begin(&app, &links, 6)
        .await
        .coded(409, "already_uploaded");
    assert_eq!(app.get(&links, &[]).await.body, "other!");
}

#[tokio::test]
async fn as_many_may_be_open_as_the_limit_and_an_ended_one_makes_room() {
    let settings = Settings {
        open_attempts: 2,
        ..Settings::default()
    };
    let app = TestApp::with(settings).await;
    let [first, second, third] = [app.create().await, app.create().await, app.create().await];
    let upload = begin(&app, &first, 3).await;
    begin(&app, &second, 3).await;
    begin(&app, &second, 3).await;
    let refused = try_begin(&app, &third, 3).await;
    assert!(
        refused
            .error(503, &["error"])
            .contains("--max-open-uploads")
    );
    let last = [PART_TYPE, ALL, ("upload-offset", "0")];
    assert_eq!(upload.call(Method::PATCH, &last, "abc").await.status, 200);
    let upload = begin(&app, &third, 3).await;
    upload.call(Method::DELETE, &[], "").await;
    begin(&app, &app.create().await, 3).await;
}

#[tokio::test]
async fn one_whose_source_has_an_archive_is_not_open() {
    let settings = Settings {
        open_attempts: 1,
        ..Settings::default()
    };
    let app = TestApp::with(settings).await;
    let links = app.create().await;
    begin(&app, &links, 3).await;
    let next = app.create().await;
    try_begin(&app, &next, 3).await.error(503, &["error"]);
    assert_eq!(app.put(&links, "whole").await.status, 200);
    begin(&app, &next, 3).await;
}

#[tokio::test]
async fn one_that_still_comes_when_its_source_gets_an_archive_is_not_open_either() {
    let settings = Settings {
        open_attempts: 1,
        ..Settings::default()
    };
    let app = &TestApp::with(settings).await;
    let links = app.create().await;
    let begun = app.put_with(&links, &[MORE], "").await;
    let url = location_of(&links, &begun);
    let upload = Attempt { app, url };
    let (piece, pieces) = mpsc::channel::<&str>(1);
    let pieces = stream::unfold(pieces, async |mut pieces| {
        Some((Ok::<_, Infallible>(pieces.recv().await?), pieces))
    });
    let meanwhile = async move {
        piece.send("abc").await.unwrap();
        until_sent(app, 3).await;
        assert_eq!(app.put(&links, "whole").await.status, 200);
        piece.send("def").await.unwrap();
        drop(piece);
    };
    let part = patch(&upload, 0, Body::from_stream(pieces));
    let (part, ()) = tokio::join!(part, meanwhile);
    assert_eq!(part.status, 204, "{part:?}");
    begin(app, &app.create().await, 3).await;
}

#[tokio::test]
async fn open_uploads_may_have_as_many_bytes_together_as_the_limit() {
    let settings = Settings {
        open_attempt_bytes: 10,
        ..Settings::default()
    };
    let app = TestApp::with(settings).await;
    let [first, second] = [app.create().await, app.create().await];
    begin(&app, &first, 4).await;
    let refused = try_begin(&app, &second, 7).await;
    assert!(
        refused
            .error(503, &["error"])
            .contains("--max-open-upload-size")
    );
    begin(&app, &second, 6).await;
    // Of unknown length: as it grows.
    let begun = app.put_with(&second, &[MORE], "").await;
    let url = location_of(&second, &begun);
    let upload = Attempt { app: &app, url };
    assert_eq!(patch(&upload, 0, "abcdef").await.status, 204);
    patch(&upload, 6, "g").await.error(503, &["error"]);
    assert_eq!(offset(&upload).await, "6");
}

#[tokio::test]
async fn where_there_is_no_room_nothing_begins() {
    let full = TestApp::with(Settings {
        keep_free_bytes: u64::MAX,
        ..Settings::default()
    })
    .await;
    let links = full.create().await;
    try_begin(&full, &links, 90_000)
        .await
        .coded(507, "store_full");
    full.assert_nothing_stored();
}

#[tokio::test]
async fn a_transfer_needs_a_slot() {
    let settings = Settings {
        transfers: 1,
        ..Settings::default()
    };
    let app = TestApp::with(settings).await;
    let links = app.create().await;
    let upload = begin(&app, &links, 6).await;
    let other = app.create().await;
    let waiting = begin(&app, &other, 6).await;
    patch(&waiting, 0, "ab").await;
    let refused = async {
        until_sent(&app, 5).await;
        app.put(&app.create().await, "abc")
            .await
            .error(503, &["error"]);
        // Nor does a beginning that cannot be sent replace anything.
        let newer = app.put_with(&other, &[MORE], "abc");
        newer.await.error(503, &["error"]);
        assert_eq!(offset(&waiting).await, "2");
        assert_eq!(offset(&upload).await, "3");
    };
    tokio::join!(patch(&upload, 0, stuck(b"abc")), refused);
}
