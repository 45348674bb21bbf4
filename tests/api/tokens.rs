//! API tokens, their exchange, the caller's account, the region, and pages.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Method;
use serde_json::{Value, json};

use crate::app::{Answer, NOW, TestApp};

async fn exchange(app: &TestApp, user_and_password: &str) -> Answer {
    let basic = format!("Basic {}", STANDARD.encode(user_and_password));
    let headers = [("authorization", basic.as_str())];
    app.call(Method::POST, "/v1/tokens/exchange", &headers, "{}")
        .await
}

async fn jwt(app: &TestApp) -> String {
    let answer = exchange(app, &format!(":{}", app.api_token)).await;
    answer.json()["token"].as_str().unwrap().to_owned()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().collect();
    keys.sort();
    keys.into_iter().map(String::as_str).collect()
}

#[tokio::test]
async fn an_api_token_is_exchanged_for_a_jwt_of_an_hour() {
    let app = TestApp::new().await;
    let answer = exchange(&app, &format!(":{}", app.api_token)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(keys(&answer.json()), ["token"]);
    let jwt = jwt(&app).await;
    let claims = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1).unwrap());
    let claims: Value = serde_json::from_slice(&claims.unwrap()).unwrap();
    assert_eq!(keys(&claims), ["exp", "iat", "iss", "jti", "sec", "sub"]);
    assert_eq!(claims["exp"], NOW.as_seconds() + 3600);

    let created = app.call_as(&jwt, Method::POST, "/v1/sources", "").await;
    assert_eq!(created.status, 201);
    app.clock.advance(Duration::from_hours(1));
    let refused = app.call_as(&jwt, Method::POST, "/v1/sources", "").await;
    assert!(refused.error(401, &["error"]).contains("expired"));
}

#[tokio::test]
async fn only_an_api_token_can_be_exchanged() {
    let app = TestApp::new().await;
    let unknown = format!(":tk-us-{}", "A".repeat(48));
    let named = format!("ada:{}", app.api_token);
    let jwt = format!(":{}", jwt(&app).await);
    for (sent, told) in [
        (unknown.as_str(), "unknown"),
        (&named, "malformed"),
        (&jwt, "malformed"),
        (":", "malformed"),
    ] {
        let answer = exchange(&app, sent).await;
        let text = answer.error(401, &["error"]);
        assert!(text.contains(told), "{text}");
    }
    let answer = app
        .call(Method::POST, "/v1/tokens/exchange", &[], "{}")
        .await;
    assert!(answer.error(401, &["error"]).contains("missing"));
}

#[tokio::test]
async fn a_revoked_token_is_not_exchanged_any_more() {
    let app = TestApp::new().await;
    let id = app.call_own(Method::GET, "/v1/tokens", "").await.json()["tokens"][0]["id"].clone();
    let uri = format!("/v1/tokens/{}", id.as_str().unwrap());
    let deleted = app.call_own(Method::DELETE, &uri, "").await;
    assert_eq!((deleted.status.as_u16(), deleted.body.len()), (204, 0));
    let answer = exchange(&app, &format!(":{}", app.api_token)).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn tokens_are_made_listed_renewed_and_deleted() {
    let app = TestApp::new().await;
    for body in [r#"{"token":{"name":"ci"}}"#, r#"{"name":"ci"}"#] {
        let made = app.call_own(Method::POST, "/v1/tokens", body).await;
        assert_eq!(made.status, 201);
        let token = &made.json()["token"];
        let all = ["created_at", "id", "last_used_at", "name", "token"];
        assert_eq!(keys(token), all);
        assert_eq!(token["name"], "ci");
        assert_eq!(token["created_at"], "2027-01-15T08:00:00.000Z");
        assert_eq!(token["last_used_at"], Value::Null);
        let old = token["token"].as_str().unwrap();
        let answer = app.call_as(old, Method::GET, "/v1/users/self", "").await;
        assert_eq!(answer.status, 200);

        let id = token["id"].as_str().unwrap();
        app.until_use_is_noted(id.parse().unwrap()).await;
        let uri = format!("/v1/tokens/{id}/renew");
        let renewed = app.call_own(Method::PATCH, &uri, "").await;
        assert_eq!(renewed.status, 200);
        let renewed = renewed.json()["token"].clone();
        assert_eq!(renewed["id"], token["id"]);
        assert_eq!(renewed["last_used_at"], "2027-01-15T08:00:00.000Z");
        let new = renewed["token"].as_str().unwrap();
        let answer = app.call_as(old, Method::GET, "/v1/users/self", "").await;
        assert_eq!(answer.status, 401);
        let answer = app.call_as(new, Method::GET, "/v1/users/self", "").await;
        assert_eq!(answer.status, 200);
    }
    let listed = app.call_own(Method::GET, "/v1/tokens", "").await.json();
    assert_eq!(listed["tokens"].as_array().unwrap().len(), 3);
    let shown = ["created_at", "id", "last_used_at", "name"];
    assert_eq!(keys(&listed["tokens"][0]), shown);
}

#[tokio::test]
async fn a_token_without_a_usable_name_is_refused_and_the_attribute_is_named() {
    let app = TestApp::new().await;
    let long = json!({ "token": { "name": "a".repeat(256) } }).to_string();
    for body in [
        "",
        "{}",
        r#"{"token":{}}"#,
        r#"{"token":{"name":""}}"#,
        r#"{"token":{"name":1}}"#,
        r#"{"token":{"name":"a\nb"}}"#,
        &long,
    ] {
        let answer = app.call_own(Method::POST, "/v1/tokens", body).await;
        assert_eq!(answer.status, 422, "{body}");
        let json = answer.json();
        assert_eq!(keys(&json), ["errors"]);
        assert_eq!(keys(&json["errors"]), ["name"]);
        assert!(json["errors"]["name"][0].is_string());
    }
}

#[tokio::test]
async fn another_users_token_does_not_exist() {
    let app = TestApp::new().await;
    let ada = app.users.add("ada", "", NOW).await.unwrap().id;
    let (token, _) = app.api_tokens.create("ci", ada, NOW).await.unwrap();
    for (method, uri) in [
        (Method::DELETE, format!("/v1/tokens/{}", token.id)),
        (Method::PATCH, format!("/v1/tokens/{}/renew", token.id)),
        (Method::PUT, format!("/v1/tokens/{}/renew", token.id)),
        (Method::DELETE, "/v1/tokens/nonsense".to_owned()),
        (Method::PATCH, "/v1/tokens/%2e%2e/renew".to_owned()),
    ] {
        let answer = app.call_own(method, &uri, "").await;
        answer.error(404, &["error", "resource"]);
        assert_eq!(answer.json()["resource"], "token");
    }
    let listed = app.call_own(Method::GET, "/v1/tokens", "").await.json();
    assert_eq!(listed["tokens"].as_array().unwrap().len(), 1);
}

/// Both may come one after the other, too: then none is in the way of the other.
#[tokio::test]
async fn of_two_that_renew_a_token_at_once_one_is_told_that_its_secret_is_not_the_last() {
    let app = TestApp::new().await;
    let made = app
        .call_own(Method::POST, "/v1/tokens", r#"{"name":"ci"}"#)
        .await;
    let made = made.json();
    let uri = format!("/v1/tokens/{}/renew", made["token"]["id"].as_str().unwrap());
    for method in [Method::PUT, Method::PATCH] {
        let renew = || app.call_own(method.clone(), &uri, "");
        let mut have_met = false;
        for _ in 0..1_000 {
            let (a, b) = tokio::join!(renew(), renew());
            let (done, refused) = if a.status == 200 { (a, b) } else { (b, a) };
            assert_eq!(done.status, 200);
            if refused.status != 200 {
                refused.coded(409, "conflict");
                have_met = true;
                break;
            }
        }
        assert!(have_met, "one has always ended before the other");
    }
}

#[tokio::test]
async fn lists_have_pages() {
    let app = TestApp::new().await;
    for _ in 0..4 {
        app.call_own(Method::POST, "/v1/tokens", r#"{"name":"a"}"#)
            .await;
    }
    let uri = "/v1/tokens?page=2&per_page=2";
    let listed = app.call_own(Method::GET, uri, "").await.json();
    assert_eq!(listed["tokens"].as_array().unwrap().len(), 2);
    let expected = json!({
        "current_page": 2,
        "prev_page": 1,
        "next_page": 3,
        "total_pages": 3,
        "total_count": 5,
    });
    assert_eq!(listed["meta"]["pagination"], expected);
    for query in [
        "page=0",
        "page=-1",
        "page=x",
        "page=",
        "page=1&page=2",
        "per_page=1&per_page=1",
    ] {
        let wrong = app
            .call_own(Method::GET, &format!("/v1/tokens?{query}"), "")
            .await;
        assert_eq!(wrong.status, 422, "{query}");
        assert_eq!(keys(&wrong.json()["errors"]), ["page"], "{query}");
    }
}

#[tokio::test]
async fn the_caller_can_read_their_own_account() {
    let app = TestApp::new().await;
    let answer = app.call_own(Method::GET, "/v1/users/self", "").await;
    assert_eq!(answer.status, 200);
    let json = answer.json();
    assert_eq!(keys(&json), ["user"]);
    let user = &json["user"];
    assert_eq!(user["username"], "admin");
    assert_eq!(user["flags"], json!({}));
    assert_eq!(user["created_at"], "2027-01-15T08:00:00.000Z");
    assert!(user["id"].as_str().unwrap().starts_with("us-"));
    assert_eq!(user["uuid"], user["id"]);
}

#[tokio::test]
async fn the_only_region_is_this_service() {
    let app = TestApp::new().await;
    let json = app.call_own(Method::GET, "/v1/regions", "").await.json();
    let regions = json["regions"].as_array().unwrap();
    assert_eq!(regions.len(), 1);
    let all = [
        "api",
        "dashboard",
        "database_api",
        "default",
        "display_name",
        "name",
        "ssh",
    ];
    assert_eq!(keys(&regions[0]), all);
    assert_eq!(regions[0]["api"], "http://x.example");
    assert_eq!(regions[0]["default"], true);
}
