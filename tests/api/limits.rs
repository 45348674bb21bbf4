//! Every limit at its edge: bytes, transfers, seconds.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures_util::StreamExt;
use hyper::body::{Frame, SizeHint};
use tokio_stream::wrappers::IntervalStream;

use crate::app::{Settings, TestApp, UPLOAD_LIMIT, UPLOADS_PER_SOURCE, chunked, stuck};

fn limit() -> usize {
    usize::try_from(UPLOAD_LIMIT).unwrap()
}

#[tokio::test]
async fn an_archive_of_the_limit_is_taken() {
    let app = TestApp::new().await;
    for body in [
        Body::from(vec![1; limit()]),
        chunked(&[&vec![1; limit() - 1], b"1"]),
        chunked(&[&vec![1; limit()], b""]),
    ] {
        let links = app.create().await;
        assert_eq!(app.put(&links, body).await.status, 200);
    }
}

#[tokio::test]
async fn one_byte_more_is_refused_with_limit_and_size_before_a_byte_is_read() {
    let app = TestApp::new().await;
    let links = app.create().await;
    // It would never come: the answer can only be from the headers.
    let body = SizedStuckBody(UPLOAD_LIMIT + 1);
    let text = app
        .put(&links, Body::new(body))
        .await
        .error(413, &["error"]);
    assert!(text.contains("(100001 bytes)"), "{text}");
    assert!(text.contains("(100000 bytes)"), "{text}");
    assert!(text.contains("--upload-limit"), "{text}");
    app.assert_nothing_stored();
}

#[tokio::test]
async fn one_byte_more_in_chunks_is_refused_and_nothing_stays() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let body = chunked(&[&vec![1; limit()], b"1"]);
    let text = app.put(&links, body).await.error(413, &["error"]);
    assert!(text.contains("(100000 bytes)"), "{text}");
    app.assert_nothing_stored();
    assert_eq!(app.put(&links, vec![1; limit()]).await.status, 200);
}

/// Says how long it is, and never gives a byte.
struct SizedStuckBody(u64);

impl HttpBody for SizedStuckBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

#[tokio::test]
async fn one_transfer_more_than_allowed_is_refused_until_one_has_ended() {
    let app = TestApp::with(Settings {
        transfers: 1,
        ..Settings::default()
    })
    .await;
    let (first, second) = (app.create().await, app.create().await);
    let mut running = Box::pin(app.put(&first, stuck(b"half")));
    assert!(futures_util::poll!(running.as_mut()).is_pending());

    let answer = app.put(&second, "bytes").await;
    let text = answer.error(503, &["error"]);
    assert!(text.contains("1 transfers"), "{text}");
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(app.get(&second, &[]).await.status, 503);

    drop(running);
    for _ in 0..3 {
        assert_eq!(app.put(&second, "bytes").await.status, 200);
        assert_eq!(app.head(&second).await.status, 200);
        assert_eq!(app.get(&second, &[]).await.status, 200);
    }
}

/// Only one of them can win, and each takes room in the store meanwhile.
#[tokio::test]
async fn one_upload_more_to_a_source_than_allowed_is_refused_and_keeps_no_other_source_out() {
    let app = TestApp::new().await;
    let (link, other) = (app.create().await, app.create().await);
    let uploads = (0..UPLOADS_PER_SOURCE).map(|_| Box::pin(app.put(&link, stuck(b"half"))));
    let mut running: Vec<_> = uploads.collect();
    for upload in &mut running {
        assert!(futures_util::poll!(upload.as_mut()).is_pending());
    }
    let answer = app.put(&link, "bytes").await;
    let text = answer.error(503, &["error"]);
    assert!(text.contains("3 uploads to this source"), "{text}");
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(app.put(&other, "bytes").await.status, 200);

    drop(running.pop());
    assert_eq!(app.put(&link, "bytes").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_more_is_given_up() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let text = app.put(&links, stuck(b"half")).await.error(408, &["error"]);
    assert!(text.contains("nothing moved for 60 s"), "{text}");
    app.assert_nothing_stored();
}

/// Sends a piece each second.
fn trickle(piece: &'static [u8], pieces: usize) -> Body {
    let seconds = IntervalStream::new(tokio::time::interval(Duration::from_secs(1)));
    let bytes = seconds.take(pieces);
    Body::from_stream(bytes.map(move |_| Ok::<_, std::io::Error>(Bytes::from_static(piece))))
}

#[tokio::test(start_paused = true)]
async fn a_client_below_the_minimum_rate_is_given_up_and_one_above_it_is_not() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let text = app
        .put(&links, trickle(&[0; 1000], 90))
        .await
        .error(408, &["error"]);
    assert!(text.contains("1024 bytes a second"), "{text}");
    app.assert_nothing_stored();
    assert_eq!(app.put(&links, trickle(&[0; 1100], 90)).await.status, 200);
}
