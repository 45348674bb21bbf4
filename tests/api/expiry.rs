//! The expiry instant, and what runs across it.

use waystation::clock::Timestamp;

use crate::app::{LIFETIME, NOW, TestApp, stuck};

fn expiry() -> Timestamp {
    NOW.after(LIFETIME)
}

#[tokio::test]
async fn links_work_until_the_instant_and_not_at_it() {
    let app = TestApp::new().await;
    let (links, unused) = (app.create().await, app.create().await);
    app.put(&links, "bytes").await;
    app.clock.set(Timestamp::from_ms(expiry().as_ms() - 1));
    assert_eq!(app.get(&links, &[]).await.status, 200);
    assert_eq!(app.get(&unused, &[]).await.status, 404);

    app.clock.set(expiry());
    for answer in [
        app.get(&links, &[]).await,
        app.get(&unused, &[]).await,
        app.put(&links, "bytes").await,
        app.put(&unused, "bytes").await,
    ] {
        let text = answer.error(410, &["code", "error", "expired_at"]);
        assert_eq!(
            text,
            "this link expired at 2027-01-15T08:10:00.000Z (now 2027-01-15T08:10:00.000Z); create a new source"
        );
        assert_eq!(answer.json()["code"], "expired");
        assert_eq!(answer.json()["expired_at"], "2027-01-15T08:10:00.000Z");
    }
    assert_eq!(app.head(&links).await.status, 410);
}

#[tokio::test]
async fn only_the_holder_of_a_link_learns_that_it_has_expired() {
    let app = TestApp::new().await;
    let links = app.create().await;
    app.clock.set(expiry());
    let wrong = format!("{}0", links.download);
    let answer = app.call(http::Method::GET, &wrong, &[], "").await;
    answer.coded(403, "invalid_token");
}

#[tokio::test]
async fn an_upload_under_way_is_cut_off_and_leaves_nothing() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let running = app.put(&links, stuck(b"half"));
    let mut running = std::pin::pin!(running);
    assert!(futures_util::poll!(running.as_mut()).is_pending());
    app.clock.advance(LIFETIME);
    running.await.error(410, &["code", "error", "expired_at"]);
    app.assert_nothing_stored();
}

#[tokio::test]
async fn a_clock_set_back_revives_nothing_that_is_gone_and_loses_nothing_that_is_not() {
    let app = TestApp::new().await;
    let (gone, kept) = (app.create().await, app.create().await);
    app.put(&gone, "bytes").await;
    app.clock.set(expiry());
    app.store.sweep(expiry()).await.unwrap();
    app.clock.set(NOW);
    assert_eq!(app.get(&gone, &[]).await.status, 404);
    assert_eq!(app.put(&kept, "bytes").await.status, 200);
    app.store.sweep(NOW).await.unwrap();
    assert_eq!(app.get(&kept, &[]).await.status, 200);
}
