//! Every route with every shape of credential: what is not allowed is denied.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use waystation::clock::Timestamp;
use waystation::keys::KeyRing;
use waystation::service::jwt::{BearerKeys, Caller};
use waystation::service::users::UserId;

use crate::app::{NOW, TestApp};

/// Every call that needs a bearer, and what it answers to one that is valid.
const CALLS: [(Method, &str, u16); 27] = [
    (Method::POST, "/v1/sources", 201),
    (Method::GET, "/v1/tokens", 200),
    (Method::POST, "/v1/tokens", 422),
    (
        Method::PATCH,
        "/v1/tokens/000000000000000000000000/renew",
        404,
    ),
    (Method::DELETE, "/v1/tokens/000000000000000000000000", 404),
    (Method::GET, "/v1/users/self", 200),
    (Method::GET, "/v1/regions", 200),
    (Method::GET, "/v1/apps", 200),
    (Method::POST, "/v1/apps", 422),
    (Method::GET, "/v1/apps/my-shop", 404),
    (Method::DELETE, "/v1/apps/my-shop", 404),
    (Method::POST, "/v1/apps/my-shop/rename", 404),
    (Method::GET, "/v1/apps/my-shop/variables", 404),
    (Method::POST, "/v1/apps/my-shop/variables", 404),
    (Method::PUT, "/v1/apps/my-shop/variables", 404),
    (Method::DELETE, "/v1/apps/my-shop/variables", 404),
    (Method::PATCH, "/v1/apps/my-shop/variables/1", 404),
    (Method::PUT, "/v1/apps/my-shop/variables/1", 404),
    (Method::DELETE, "/v1/apps/my-shop/variables/1", 404),
    (Method::GET, "/v1/apps/my-shop/events", 404),
    (Method::GET, "/v1/events", 200),
    (Method::GET, "/v1/apps/my-shop/deployments", 404),
    (Method::POST, "/v1/apps/my-shop/deployments", 404),
    (Method::GET, "/v1/apps/my-shop/deployments/1", 404),
    (Method::GET, "/v1/apps/my-shop/deployments/1/output", 404),
    (Method::POST, "/v1/apps/my-shop/deployments/1/cancel", 404),
    (Method::DELETE, "/v1/apps/my-shop/caches/deployment", 404),
];

#[tokio::test]
async fn every_call_accepts_valid_bearers_and_no_others() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let token = app.first_token().await;
    let admin = Caller {
        user: UserId::of("admin"),
        token: token.id,
        secret: token.secret_tag(),
    };
    let ring = KeyRing::of(&[[7; 32]]);
    let bearers = BearerKeys::derive(&ring);
    let strangers = BearerKeys::derive(&KeyRing::of(&[[8; 32]]));
    let jwt = bearers.mint(admin, NOW, [1; 16]).reveal().to_owned();
    let foreign = strangers.mint(admin, NOW, [1; 16]).reveal().to_owned();
    let old = Timestamp::from_ms(NOW.as_ms() - 3_600_000);
    let expired = bearers.mint(admin, old, [1; 16]).reveal().to_owned();
    let (head, _) = jwt.rsplit_once('.').unwrap();
    let refused = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some("Bearer nonsense".to_owned()),
        Some(format!(
            "Basic {}",
            STANDARD.encode(format!(":{}", app.api_token))
        )),
        Some(app.api_token.clone()),
        Some(format!("Bearer {foreign}")),
        Some(format!("Bearer {expired}")),
        Some(format!("Bearer {head}.")),
        Some(format!("Bearer {}", token_of(&links.upload))),
        Some(format!("Bearer tk-us-{}", "A".repeat(48))),
        Some(format!("Bearer {}{}", &app.api_token[..22], "A".repeat(32))),
    ];
    let allowed = [
        format!("Bearer {jwt}"),
        format!("bearer {jwt}"),
        format!("Bearer {}", app.api_token),
    ];
    for (method, uri, status) in CALLS {
        for authorization in &refused {
            let sent = authorization
                .as_ref()
                .map(|value| ("authorization", value.as_str()));
            let headers: Vec<_> = sent.into_iter().collect();
            let answer = app.call(method.clone(), uri, &headers, "").await;
            answer.error(401, &["error"]);
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
        for authorization in &allowed {
            let headers = [("authorization", authorization.as_str())];
            let answer = app.call(method.clone(), uri, &headers, "").await;
            assert_eq!(answer.status, status, "{method} {uri}");
        }
    }
    app.assert_nothing_stored();
}

#[tokio::test]
async fn the_error_says_whether_a_bearer_is_missing_malformed_or_unknown() {
    let app = TestApp::new().await;
    let unknown = format!("Bearer tk-us-{}", "A".repeat(48));
    for (authorization, fault) in [
        (None, "missing"),
        (Some("Basic OmFiYw=="), "malformed"),
        (Some("Bearer"), "malformed"),
        (Some("Bearer tk-us-short"), "malformed"),
        (Some("Bearer \u{fc}"), "malformed"),
        (Some(unknown.as_str()), "unknown"),
    ] {
        let headers: Vec<_> = authorization
            .map(|value| ("authorization", value))
            .into_iter()
            .collect();
        let answer = app
            .call(Method::POST, "/v1/sources", &headers, Body::empty())
            .await;
        let text = answer.error(401, &["error"]);
        assert!(text.contains(fault), "{authorization:?}: {text}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
}

#[tokio::test]
async fn a_token_for_runners_opens_nothing_of_a_user() {
    let app = TestApp::new().await;
    let made = app.api_tokens.create_for_runners("builds", NOW).await;
    let runner = made.unwrap().1;
    for (method, uri, _) in CALLS {
        let answer = app.call_as(runner.reveal(), method, uri, "").await;
        let text = answer.error(403, &["error"]);
        assert!(text.contains("for runners"), "{text}");
    }
    let basic = STANDARD.encode(format!(":{}", runner.reveal()));
    let headers = [("authorization", &*format!("Basic {basic}"))];
    let exchanged = app.call(Method::POST, "/v1/tokens/exchange", &headers, "");
    exchanged.await.error(403, &["error"]);
}

#[tokio::test]
async fn no_user_claims_deployments() {
    let app = TestApp::new().await;
    let basic = STANDARD.encode(format!(":{}", app.api_token));
    let headers = [("authorization", &*format!("Basic {basic}"))];
    let exchanged = app
        .call(Method::POST, "/v1/tokens/exchange", &headers, "")
        .await;
    let jwt = exchanged.json()["token"].as_str().unwrap().to_owned();
    let claim = async |token: &str| {
        let path = "/v1/runner/claims";
        app.call_as(token, Method::POST, path, "{}").await
    };
    for token in [&app.api_token, &jwt] {
        let text = claim(token).await.error(403, &["error"]);
        assert!(text.contains("--runner"), "{text}");
    }
    let guess = format!("tk-us-{}", "A".repeat(48));
    for token in ["nonsense", &guess] {
        claim(token).await.error(401, &["error"]);
    }
    let path = "/v1/runner/claims";
    let none = app.call(Method::POST, path, &[], "{}").await;
    none.error(401, &["error"]);
    let made = app.api_tokens.create_for_runners("builds", NOW).await;
    let (token, runner) = made.unwrap();
    app.api_tokens.revoke(token.id).await.unwrap();
    claim(runner.reveal()).await.error(401, &["error"]);
}

#[tokio::test]
async fn a_revoked_token_opens_nothing() {
    let app = TestApp::new().await;
    app.create().await;
    let token = app.first_token().await;
    app.api_tokens.revoke(token.id).await.unwrap();
    let bearer = format!("Bearer {}", app.api_token);
    let headers = [("authorization", bearer.as_str())];
    let answer = app
        .call(Method::POST, "/v1/sources", &headers, Body::empty())
        .await;
    assert!(answer.error(401, &["error"]).contains("unknown"));
}

#[tokio::test]
async fn what_a_revoked_token_was_exchanged_for_makes_no_new_one() {
    let app = TestApp::new().await;
    let token = app.first_token().await;
    let caller = Caller {
        user: token.user,
        token: token.id,
        secret: token.secret_tag(),
    };
    let bearers = BearerKeys::derive(&KeyRing::of(&[[7; 32]]));
    let jwt = bearers.mint(caller, NOW, [1; 16]);
    app.api_tokens.revoke(token.id).await.unwrap();
    let bearer = format!("Bearer {}", jwt.reveal());
    let headers = [("authorization", bearer.as_str())];
    let sources = app.call(Method::POST, "/v1/sources", &headers, "").await;
    assert_eq!(sources.status, 201);
    let body = r#"{"name":"forever"}"#;
    let tokens = app.call(Method::POST, "/v1/tokens", &headers, body).await;
    tokens.error(401, &["error"]);
}

/// The secret may have been renewed because another knew it.
#[tokio::test]
async fn what_a_renewed_token_was_exchanged_for_changes_no_tokens() {
    let app = TestApp::new().await;
    let token = app.first_token().await;
    let basic = STANDARD.encode(format!(":{}", app.api_token));
    let headers = [("authorization", &*format!("Basic {basic}"))];
    let exchanged = app
        .call(Method::POST, "/v1/tokens/exchange", &headers, "")
        .await;
    let jwt = exchanged.json()["token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {jwt}");
    let headers = [("authorization", bearer.as_str())];
    let renewal = format!("/v1/tokens/{}/renew", token.id);
    let renewed = app.call(Method::PATCH, &renewal, &headers, "").await;
    assert_eq!(renewed.status, 200);
    for (method, uri) in [
        (Method::POST, "/v1/tokens"),
        (Method::PATCH, &renewal),
        (Method::DELETE, &format!("/v1/tokens/{}", token.id)),
    ] {
        let body = r#"{"name":"forever"}"#;
        let refused = app.call(method, uri, &headers, body).await;
        assert!(refused.error(401, &["error"]).contains("renewed"));
    }
    let sources = app.call(Method::POST, "/v1/sources", &headers, "").await;
    assert_eq!(sources.status, 201);

    // The new secret changes them, by itself and by what it is exchanged for.
    let new = renewed.json()["token"]["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let basic = format!("Basic {}", STANDARD.encode(format!(":{new}")));
    let headers = [("authorization", basic.as_str())];
    let exchanged = app
        .call(Method::POST, "/v1/tokens/exchange", &headers, "")
        .await;
    for bearer in [exchanged.json()["token"].as_str().unwrap(), &new] {
        let bearer = format!("Bearer {bearer}");
        let headers = [("authorization", bearer.as_str())];
        let body = r#"{"name":"another"}"#;
        let made = app.call(Method::POST, "/v1/tokens", &headers, body).await;
        assert_eq!(made.status, 201);
    }
}

/// The link with its token replaced, or with another query altogether.
fn with_query(link: &str, query: &str) -> String {
    let (path, _) = link.split_once('?').unwrap();
    format!("{path}{query}")
}

fn token_of(link: &str) -> &str {
    link.split_once("?token=").unwrap().1
}

#[tokio::test]
async fn only_the_right_token_in_its_one_spelling_opens_a_link() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let other = app.create().await;
    let token = token_of(&links.upload);
    let refused = [
        String::new(),
        "?token=".to_owned(),
        "?token".to_owned(),
        format!("?TOKEN={token}"),
        format!("?token={}", &token[..31]),
        format!("?token={token}0"),
        format!(
            "?token={}",
            token.to_uppercase().replace(char::is_numeric, "F")
        ),
        format!("?token={token}%00"),
        format!("?token=%00{}", &token[1..]),
        format!("?token={token}&token={token}"),
        format!("?token={token}&token="),
        format!("?token={}", token_of(&links.download)),
        format!("?token={}", token_of(&other.upload)),
        format!("?token={}", app.api_token),
        format!("?token={}", "0".repeat(32)),
    ];
    let mut bodies = Vec::new();
    for query in refused {
        let uri = with_query(&links.upload, &query);
        let answer = app.call(Method::PUT, &uri, &[], "bytes").await;
        answer.coded(403, "invalid_token");
        bodies.push(answer.body);
        app.assert_nothing_stored();
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "each refusal says the same");
}

#[tokio::test]
async fn a_link_allows_its_own_methods_only() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let put = app.call(Method::PUT, &links.download, &[], "bytes").await;
    put.coded(403, "invalid_token");
    app.assert_nothing_stored();
    app.put(&links, "bytes").await;
    for method in [Method::GET, Method::HEAD] {
        let answer = app.call(method, &links.upload, &[], Body::empty()).await;
        assert_eq!(answer.status, 403);
    }
}

#[tokio::test]
async fn an_unknown_source_answers_like_a_known_one_with_a_wrong_token() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let wrong = format!("?token={}", "0".repeat(32));
    let known = with_query(&links.download, &wrong);
    let unknown = format!("/v1/sources/123e4567-e89b-12d3-a456-426655440000{wrong}");
    let known = app.call(Method::GET, &known, &[], Body::empty()).await;
    let unknown = app.call(Method::GET, &unknown, &[], Body::empty()).await;
    assert_eq!(known.body, unknown.body);
    assert_eq!(known.status, unknown.status);
}

#[tokio::test]
async fn a_link_ignores_an_authorization_and_other_parameters() {
    let app = TestApp::new().await;
    let mut links = app.create().await;
    for link in [&mut links.upload, &mut links.download] {
        link.push_str("&partNumber=1&acl");
    }
    let headers = [("authorization", "Bearer nonsense")];
    assert_eq!(app.put_with(&links, &headers, "bytes").await.status, 200);
    assert_eq!(app.get(&links, &headers).await.status, 200);
}
