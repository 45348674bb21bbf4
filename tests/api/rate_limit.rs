//! How often one may call.

use std::time::Duration;

use axum::body::Body;
use http::Method;
use waystation::service::account::{API_TOKEN_PREFIX, FIRST_USER, UserId};

use crate::app::{Answer, NOW, Settings, TestApp};

async fn limited() -> TestApp {
    TestApp::with(Settings {
        calls_per_minute: 60,
        failures_per_minute: 3,
        ..Settings::default()
    })
    .await
}

async fn create(app: &TestApp, headers: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {}", app.api_token);
    let headers = [&[("authorization", bearer.as_str())], headers].concat();
    app.call(Method::POST, "/v1/sources", &headers, Body::empty())
        .await
}

async fn create_with(app: &TestApp, bearer: &str) -> Answer {
    let bearer = format!("Bearer {bearer}");
    let headers = [("authorization", bearer.as_str())];
    app.call(Method::POST, "/v1/sources", &headers, Body::empty())
        .await
}

#[tokio::test(start_paused = true)]
async fn sixty_calls_pass_and_the_next_is_told_when_to_come_back() {
    let app = limited().await;
    for left in (0..60).rev() {
        let answer = create(&app, &[]).await;
        assert_eq!(answer.status, 201);
        assert_eq!(answer.header("ratelimit-policy"), "\"user\";q=60;w=60");
        let expected = format!("\"user\";r={left};t={}", 60 - left);
        assert_eq!(answer.header("ratelimit"), expected);
    }
    let answer = create(&app, &[]).await;
    let text = answer.coded(429, "rate_limited");
    assert_eq!(text, "Retry later");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.header("ratelimit"), "\"user\";r=0;t=1");

    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(create(&app, &[]).await.status, 201);
    assert_eq!(create(&app, &[]).await.status, 429);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_accept_json_is_told_in_text() {
    let app = limited().await;
    for _ in 0..60 {
        create(&app, &[]).await;
    }
    for accept in ["text/plain", "text/html, image/*;q=0.5"] {
        let answer = create(&app, &[("accept", accept)]).await;
        assert_eq!(answer.status, 429);
        assert_eq!(answer.body, "Retry later");
        assert!(answer.header("content-type").starts_with("text/plain"));
        assert!(answer.headers.contains_key("retry-after"));
    }
    for accept in ["application/json", "text/html, */*;q=0.1", "application/*"] {
        create(&app, &[("accept", accept)])
            .await
            .coded(429, "rate_limited");
    }
}

#[tokio::test(start_paused = true)]
async fn links_are_not_counted() {
    let app = limited().await;
    let links = app.create().await;
    app.put(&links, "bytes").await;
    for _ in 0..100 {
        let answer = app.get(&links, &[]).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.headers.contains_key("ratelimit"));
    }
}

#[tokio::test(start_paused = true)]
async fn strangers_who_fail_too_often_are_told_to_come_back_and_users_are_not_hit() {
    let app = limited().await;
    for _ in 0..3 {
        assert_eq!(create_with(&app, "nonsense").await.status, 401);
    }
    let answer = create_with(&app, "nonsense").await;
    answer.coded(429, "rate_limited");
    assert_eq!(answer.header("retry-after"), "20");
    assert_eq!(create(&app, &[]).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn guesses_beyond_the_limit_are_not_looked_up_and_a_new_token_works_within_a_second() {
    let app = limited().await;
    let guess = format!("{API_TOKEN_PREFIX}{}", "A".repeat(48));
    for _ in 0..3 {
        assert_eq!(create_with(&app, &guess).await.status, 401);
    }
    for _ in 0..2 {
        create_with(&app, &guess).await.coded(429, "rate_limited");
    }
    // The store was asked for its tokens just now, and is not asked about this one.
    let user = UserId::of(FIRST_USER);
    let made = app.accounts.create_token("new", user, NOW).await;
    let token = made.unwrap().1;
    let answer = create_with(&app, token.reveal()).await;
    answer.coded(429, "rate_limited");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(create_with(&app, token.reveal()).await.status, 201);
    create_with(&app, &guess).await.coded(429, "rate_limited");
}
