//! What is answered when something is wrong with the link, the store, the client, or the request before.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::Method;
use rustix::io::Errno;
use waystation::store::folder::{Faults, Verdict};
use waystation_testing::PATIENCE;
use waystation_testing::call_gate::CallGate;

use super::{Attempt, location_of};
use crate::app::{Answer, LIFETIME, Links, Settings, TestApp, stuck};
use crate::refusals::judge;

const DRAFT: (&str, &str) = ("upload-complete", "?0");
const PART: [(&str, &str); 3] = [
    DRAFT,
    ("content-type", "application/partial-upload"),
    ("upload-offset", "0"),
];
const TUS: (&str, &str) = ("tus-resumable", "1.0.0");
const TUS_PART: [(&str, &str); 3] = [
    TUS,
    ("content-type", "application/offset+octet-stream"),
    ("upload-offset", "0"),
];

async fn try_begin(app: &TestApp, url: &str) -> Answer {
    app.call(Method::POST, url, &[DRAFT], "").await
}

async fn begin<'a>(app: &'a TestApp, links: &Links) -> Attempt<'a> {
    let url = location_of(links, &try_begin(app, &links.upload).await);
    Attempt { app, url }
}

#[tokio::test]
async fn a_link_that_does_not_do_begins_nothing_and_says_nothing() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let foreign = links.upload.replace("token=", "token=0");
    try_begin(&app, &foreign).await.coded(403, "invalid_token");
    let (_, query) = links.upload.split_once('?').unwrap();
    let nowhere = format!("/v1/sources/1?{query}");
    for answer in [
        try_begin(&app, &nowhere).await,
        app.call(Method::OPTIONS, &nowhere, &[], "").await,
    ] {
        answer.error(404, &["error", "resource"]);
    }
    let form = [DRAFT, ("content-type", "multipart/form-data")];
    let refused = app.call(Method::POST, &links.upload, &form, "abc").await;
    refused.error(415, &["error"]);
    app.put(&links, "other!").await;
    let refused = try_begin(&app, &links.upload).await;
    refused.coded(409, "already_uploaded");
    app.clock.advance(LIFETIME);
    for answer in [
        try_begin(&app, &links.upload).await,
        app.call(Method::OPTIONS, &links.upload, &[], "").await,
    ] {
        answer.error(410, &["error", "code", "expired_at"]);
    }
}

#[tokio::test]
async fn another_version_of_tus_cancels_nothing() {
    let app = TestApp::new().await;
    let upload = begin(&app, &app.create().await).await;
    let other = [("tus-resumable", "0.2.2")];
    let refused = upload.call(Method::DELETE, &other, "").await;
    assert_eq!(refused.status, 412);
    assert_eq!(upload.call(Method::DELETE, &[], "").await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_does_not_come_is_not_waited_for() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let part = stuck(b"abc");
    let slow = app.call(Method::POST, &links.upload, &[DRAFT], part).await;
    slow.error(408, &["error"]);
    let upload = begin(&app, &links).await;
    let slow = upload.call(Method::PATCH, &PART, stuck(b"abc")).await;
    slow.error(408, &["error"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_or_is_full_is_told_of_each_request() {
    for (errno, status, what) in [
        (Errno::IO, 500, &["begin", "append", "cancel", "look"][..]),
        (Errno::MFILE, 503, &["begin", "append", "cancel", "look"]),
        (Errno::NOSPC, 507, &["begin", "append"]),
    ] {
        let store = Arc::new(AtomicI32::new(0));
        let now = Arc::clone(&store);
        let faults = Faults::decided_by(Arc::new(move |call| judge(call, &now)));
        let app = TestApp::failing(Settings::default(), faults).await;
        let (links, others) = (app.create().await, app.create().await);
        let upload = begin(&app, &links).await;
        store.store(errno.raw_os_error(), Ordering::Relaxed);
        for what in what {
            let answer = match *what {
                "begin" => try_begin(&app, &others.upload).await,
                "append" => upload.call(Method::PATCH, &PART, "abc").await,
                "cancel" => upload.call(Method::DELETE, &[], "").await,
                _ => upload.call(Method::HEAD, &[], "").await,
            };
            assert_eq!(answer.status.as_u16(), status, "{what}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_beginning_that_fails_when_its_client_has_gone_takes_no_place() {
    for headers in [&[DRAFT][..], &[TUS, ("upload-length", "6")]] {
        let gate = CallGate::default();
        let calls = gate.clone();
        let faults = Faults::decided_by(Arc::new(move |call| {
            if calls.pass(call) {
                return Verdict::Fail(Errno::IO.into());
            }
            Verdict::Go
        }));
        let settings = Settings {
            open_attempts: 1,
            ..Settings::default()
        };
        let app = TestApp::failing(settings, faults).await;
        let (links, others) = (app.create().await, app.create().await);
        // Made for an upload alone: there are writers of documents in the background.
        let shut = gate.shut_before(1, "statvfs");
        tokio::select! {
            begun = app.call(Method::POST, &links.upload, headers, "") => panic!("{begun:?}"),
            () = gate.reached() => {}
        }
        drop(shut);
        let is_free = async {
            while try_begin(&app, &others.upload).await.status != 201 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, is_free).await.unwrap();
    }
}

/// Its publication goes on, and nobody learns of its end.
#[tokio::test]
async fn one_whose_source_gets_an_archive_when_its_client_has_gone_keeps_no_place() {
    let gate = CallGate::default();
    let settings = Settings {
        open_attempts: 1,
        ..Settings::default()
    };
    let app = TestApp::failing(settings, gate.faults()).await;
    let (links, others) = (app.create().await, app.create().await);
    begin(&app, &links).await;
    let shut = gate.shut_before(1, "link");
    tokio::select! {
        put = app.put(&links, "whole") => panic!("{put:?}"),
        () = gate.reached() => {}
    }
    drop(shut);
    let is_forgotten = async {
        while !app.store.open_attempts().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, is_forgotten).await.unwrap();
    assert_eq!(try_begin(&app, &others.upload).await.status, 201);
}

/// Time passes until something has come of it.
async fn in_time<T>(coming: impl Future<Output = T>) -> T {
    let pass = async {
        loop {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        biased;
        come = coming => come,
        () = pass => unreachable!("it has no end"),
    }
}

type Newer = (Method, &'static [(&'static str, &'static str)], u16);

const BEGINNINGS: [Newer; 2] = [
    (Method::POST, &[TUS, ("upload-length", "6")], 423),
    (Method::POST, &[DRAFT], 503),
];
const OTHERS: [Newer; 6] = [
    (Method::PATCH, &TUS_PART, 423),
    (Method::HEAD, &[TUS], 423),
    (Method::DELETE, &[TUS], 423),
    (Method::PATCH, &PART, 503),
    (Method::HEAD, &[], 503),
    (Method::DELETE, &[], 503),
];

/// What an older request with that part is answered in the end, and where the upload then is, if newer ones came while
/// the disk did not answer.
async fn answer_with_newer_ones(part: Body, newer: &[Newer]) -> (Answer, Answer) {
    let gate = CallGate::default();
    let app = TestApp::failing(Settings::default(), gate.faults()).await;
    let links = app.create().await;
    let upload = begin(&app, &links).await;
    let shut = gate.shut_before(1, "write");
    let newer = async {
        gate.reached().await;
        for (method, headers, status) in newer {
            let url = if *method == Method::POST {
                &links.upload
            } else {
                &upload.url
            };
            let answer = in_time(app.call(method.clone(), url, headers, "abc")).await;
            assert_eq!(answer.status.as_u16(), *status, "{method} {headers:?}");
            assert_eq!(answer.header("retry-after"), "5");
            assert!(!answer.headers.contains_key("upload-offset"));
            if *method != Method::HEAD {
                answer.coded(*status, "still_running");
            }
        }
        drop(shut);
    };
    let older = upload.call(Method::PATCH, &PART, part);
    let (older, ()) = tokio::join!(older, newer);
    let head = upload.call(Method::HEAD, &[], "").await;
    (older, head)
}

#[tokio::test(start_paused = true)]
async fn an_older_request_that_does_not_end_keeps_newer_ones_out() {
    for newer in [&BEGINNINGS[..], &OTHERS] {
        let (older, _) = answer_with_newer_ones(stuck(b"abc"), newer).await;
        older.coded(409, "superseded");
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_request_that_was_all_there_is_kept() {
    let (older, head) = answer_with_newer_ones(Body::from("abc"), &OTHERS).await;
    assert_eq!(older.status, 204, "{older:?}");
    for answer in [older, head] {
        assert_eq!(answer.header("upload-offset"), "3");
    }
}
