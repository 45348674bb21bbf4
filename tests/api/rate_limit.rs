//! How often one may call.

use std::time::Duration;

use axum::body::Body;
use http::Method;
use waystation::service::api_tokens::API_TOKEN_PREFIX;
use waystation::service::users::{FIRST_USER, UserId};

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
async fn sixty_calls_of_a_user_pass_and_the_next_has_to_come_back_later() {
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
    let other = app.users.add("ada", "", NOW).await.unwrap().id;
    let (_, other) = app.api_tokens.create("ci", other, NOW).await.unwrap();
    assert_eq!(create_with(&app, other.reveal()).await.status, 201);

    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(create(&app, &[]).await.status, 201);
    assert_eq!(create(&app, &[]).await.status, 429);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_accept_json_gets_text() {
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
async fn an_address_that_fails_too_often_has_to_come_back_later() {
    let app = limited().await;
    for _ in 0..3 {
        assert_eq!(create_with(&app, "nonsense").await.status, 401);
    }
    let answer = create_with(&app, "nonsense").await;
    answer.coded(429, "rate_limited");
    assert_eq!(answer.header("retry-after"), "20");
}

#[tokio::test(start_paused = true)]
async fn past_the_limit_only_api_tokens_that_were_right_within_the_last_hour_are_looked_up() {
    let app = limited().await;
    let admin = UserId::of(FIRST_USER);
    let made = app.api_tokens.create("unused", admin, NOW).await;
    let unused = made.unwrap().1;
    assert_eq!(create(&app, &[]).await.status, 201);

    let guess = format!("{API_TOKEN_PREFIX}{}", "A".repeat(48));
    // Its id is no secret, but that does not let it through.
    let near = format!(
        "{}{}",
        &app.api_token[..app.api_token.len() - 32],
        "A".repeat(32)
    );
    for _ in 0..3 {
        assert_eq!(create_with(&app, &guess).await.status, 401);
    }
    let refused = [&guess, &near, unused.reveal()];
    let check = async || {
        for token in refused {
            let answer = create_with(&app, token).await;
            answer.coded(429, "rate_limited");
        }
    };
    create_with(&app, &guess).await.coded(429, "rate_limited");
    check().await;
    assert_eq!(create(&app, &[]).await.status, 201);

    // What was right, and is revoked since, is looked up and refused.
    let first = app.first_token().await;
    app.api_tokens.revoke(first.id).await.unwrap();
    assert_ne!(create(&app, &[]).await.status, 201);
    check().await;

    // One that is not known is looked up when a failure comes back.
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(create_with(&app, unused.reveal()).await.status, 201);
}

/// Each would cost an object store a request.
#[tokio::test(start_paused = true)]
async fn an_api_token_whose_user_has_nothing_left_is_not_looked_up() {
    let app = limited().await;
    let mut left = 0;
    while create(&app, &[]).await.status == 201 {
        left += 1;
    }
    assert!(left > 0);
    let token = app.first_token().await;
    app.api_tokens.revoke(token.id).await.unwrap();
    // A look would say that it is revoked.
    let refused = create(&app, &[]).await;
    refused.coded(429, "rate_limited");
    assert!(refused.header("ratelimit").contains("r=0"));
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(create(&app, &[]).await.status, 401);
}
