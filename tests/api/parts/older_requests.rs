//! An older request of the same upload that does not end, as its disk takes no bytes: what newer ones are told meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::body::Body;
use http::Method;
use waystation::store::folder::{Faults, Verdict};

use super::{Attempt, location_of};
use crate::app::{Answer, Settings, TestApp};

const VERSION: (&str, &str) = ("tus-resumable", "1.0.0");
/// More than an older request may take to end.
const TOO_LONG: Duration = Duration::from_secs(11);

/// A disk whose writes do not end until they are let go.
#[derive(Default)]
struct StuckDisk {
    is_stuck: Mutex<bool>,
    changed: Condvar,
    writes: AtomicUsize,
}

impl StuckDisk {
    fn faults(self: &Arc<Self>) -> Faults {
        let disk = Arc::clone(self);
        Faults::decided_by(Arc::new(move |call| {
            let is_stuck = disk.is_stuck.lock().unwrap();
            if call == "write" && *is_stuck {
                disk.writes.fetch_add(1, Relaxed);
                let _let_go = disk.changed.wait_while(is_stuck, |is_stuck| *is_stuck);
            }
            Verdict::Go
        }))
    }

    fn set(&self, is_stuck: bool) {
        *self.is_stuck.lock().unwrap() = is_stuck;
        self.changed.notify_all();
    }

    async fn until_stuck(&self) {
        while self.writes.load(Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Lets writes go when a test ends, also when it fails: their threads would be waited for.
struct LetGo(Arc<StuckDisk>);

impl Drop for LetGo {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// What a request is answered that is waited for too long.
async fn answer_in_the_end(request: impl Future<Output = Answer>) -> Answer {
    let wait = async {
        // Whoever else is to do something has a turn.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(TOO_LONG).await;
    };
    tokio::join!(request, wait).0
}

#[tokio::test(start_paused = true)]
async fn a_newer_request_is_told_of_an_older_one_that_does_not_end() {
    let disk = Arc::new(StuckDisk::default());
    let app = TestApp::failing(Settings::default(), disk.faults()).await;
    let _let_go = LetGo(Arc::clone(&disk));
    let links = app.create().await;
    let headers = [VERSION, ("upload-length", "6")];
    let begun = app.call(Method::POST, &links.upload, &headers, "").await;
    let url = location_of(&links, &begun);
    let upload = Attempt { app: &app, url };

    disk.set(true);
    let part = [
        VERSION,
        ("content-type", "application/offset+octet-stream"),
        ("upload-offset", "0"),
    ];
    let older = upload.call(Method::PATCH, &part, "abc");
    let newer = async {
        disk.until_stuck().await;
        for (headers, status) in [(vec![VERSION], 423), (vec![], 503)] {
            let head = upload.call(Method::HEAD, &headers, Body::empty());
            let head = answer_in_the_end(head).await;
            assert_eq!(head.status, status, "{head:?}");
            assert!(!head.headers.contains_key("upload-offset"));
            let cancel = upload.call(Method::DELETE, &headers, "");
            let refused = answer_in_the_end(cancel).await;
            refused.coded(status, "still_running");
            assert_eq!(refused.header("retry-after"), "5");
        }
        let next = answer_in_the_end(upload.call(Method::PATCH, &part, "abc")).await;
        next.coded(423, "still_running");
        disk.set(false);
    };
    let (older, ()) = tokio::join!(older, newer);
    // It was all there, and is kept.
    assert_eq!(older.status, 204, "{older:?}");
    assert_eq!(older.header("upload-offset"), "3");
    let head = upload.call(Method::HEAD, &[VERSION], "").await;
    assert_eq!(head.header("upload-offset"), "3");
}
