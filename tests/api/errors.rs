//! Errors that belong to no route of their own, and what every answer carries.

use axum::body::Body;
use http::Method;

use crate::app::{Settings, TestApp};

#[tokio::test]
async fn unknown_routes_are_reported_in_json_and_name_no_resource() {
    let app = TestApp::new().await;
    for path in ["/", "/v1", "/v1/sources/", "/v1/sources/a/b", "/v2/sources"] {
        let answer = app.call(Method::GET, path, &[], Body::empty()).await;
        answer.error(404, &["error"]);
    }
}

/// The platform's command line shows these sentences to its users.
#[tokio::test]
async fn what_the_platform_has_and_this_service_has_not_is_a_sentence_with_what_to_use_instead() {
    let app = TestApp::new().await;
    for (method, path, instead) in [
        (Method::GET, "/v1/apps/my-shop/ps?", "'deployments'"),
        (Method::GET, "/v1/apps/my-shop/containers", "'deployments'"),
        (Method::GET, "/v1/apps/my-shop/logs", "'deployment-logs'"),
        (Method::POST, "/v1/apps/my-shop/scale", "deploys with"),
        (Method::POST, "/v1/apps/my-shop/restart", "'deploy'"),
        (Method::POST, "/v1/apps/my-shop/run", "where the app runs"),
        (
            Method::GET,
            "/v1/apps/my-shop/domains",
            "in front of the app",
        ),
        (Method::GET, "/v1/apps/my-shop/addons", "'env-set'"),
        (Method::GET, "/v1/apps/my-shop/collaborators", "API token"),
        (Method::GET, "/v1/apps/my-shop/notifiers", "'timeline'"),
        (Method::GET, "/v1/apps/my-shop/scm_repo_link", "'deploy'"),
        (Method::PATCH, "/v1/apps/my-shop", "'env-set'"),
        (Method::PUT, "/v1/apps/my-shop", "'rename'"),
        (Method::GET, "/v1/keys", "'deploy'"),
        (Method::GET, "/v1/features/stacks", "deploys with"),
        // An application may be called so.
        (Method::PUT, "/v1/apps/ps", "'rename'"),
        (Method::GET, "/v1/apps/logs/unknown", "nothing at this path"),
        (Method::GET, "/v2/apps/my-shop/ps", "nothing at this path"),
    ] {
        let answer = app.call(method, path, &[], "{}").await;
        let text = answer.error(404, &["error"]);
        assert!(text.contains(instead), "{path}: {text}");
    }
}

#[tokio::test]
async fn what_is_no_source_id_is_not_found() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let (path, query) = links.download.split_once('?').unwrap();
    let id = path.rsplit('/').next().unwrap();
    for id in [
        format!("%7B{id}%7D"),
        id.to_uppercase(),
        id.replace('-', ""),
        format!("{id}%00"),
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd".to_owned(),
        "%ff".to_owned(),
        "1".to_owned(),
    ] {
        for method in [Method::GET, Method::PUT] {
            let uri = format!("/v1/sources/{id}?{query}");
            let answer = app.call(method, &uri, &[], Body::empty()).await;
            answer.error(404, &["error", "resource"]);
        }
    }
    app.assert_nothing_stored();
}

#[tokio::test]
async fn methods_that_are_not_allowed_are_answered_with_those_that_are() {
    let app = TestApp::new().await;
    let links = app.create().await;
    for (method, uri, allowed) in [
        (Method::GET, "/v1/sources", "POST"),
        (Method::DELETE, "/v1/sources", "POST"),
        (Method::POST, links.upload.as_str(), "GET,HEAD,OPTIONS,PUT"),
        (
            Method::DELETE,
            links.upload.as_str(),
            "GET,HEAD,OPTIONS,PUT",
        ),
        (Method::PATCH, links.upload.as_str(), "GET,HEAD,OPTIONS,PUT"),
    ] {
        let answer = app.call(method, uri, &[], Body::empty()).await;
        answer.error(405, &["error"]);
        let mut allow: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        allow.sort_unstable();
        assert_eq!(allow.join(","), allowed);
    }
}

#[tokio::test]
async fn before_the_upload_there_is_nothing() {
    let app = TestApp::new().await;
    let links = app.create().await;
    let answer = app.get(&links, &[]).await;
    let text = answer.error(404, &["error", "resource"]);
    assert_eq!(text, "nothing has been uploaded to this source yet");
    assert_eq!(answer.json()["resource"], "source");
    assert_eq!(app.head(&links).await.status, 404);
}

#[tokio::test]
async fn a_sane_request_id_comes_back_and_another_is_replaced() {
    let app = TestApp::new().await;
    let (longest, too_long) = ("a".repeat(128), "a".repeat(129));
    for (sent, is_kept) in [
        ("6f2c:1/a+b=_.-", true),
        (longest.as_str(), true),
        (&too_long, false),
        ("", false),
        ("a b", false),
        ("\"", false),
        ("a{", false),
    ] {
        let headers = [("x-request-id", sent)];
        let answer = app.call(Method::GET, "/", &headers, Body::empty()).await;
        assert_eq!(answer.header("x-request-id") == sent, is_kept, "{sent}");
    }
}

#[tokio::test]
async fn a_fault_of_ours_says_only_where_to_look() {
    let app = TestApp::new().await;
    let links = app.create().await;
    app.put(&links, "bytes").await;
    app.corrupt_the_archive();
    let answer = app.get(&links, &[("x-request-id", "id-1")]).await;
    let text = answer.error(500, &["error", "request_id"]);
    assert_eq!(text, "Internal error");
    assert_eq!(answer.json()["request_id"], "id-1");
}

#[tokio::test]
async fn a_full_store_takes_nothing_and_still_serves_and_deletes() {
    let app = TestApp::with(Settings {
        keep_free_bytes: u64::MAX,
        ..Settings::default()
    })
    .await;
    let links = app.create().await;
    let text = app.put(&links, "bytes").await.coded(507, "store_full");
    assert!(text.contains("kept free"), "{text}");
    app.assert_nothing_stored();
    app.store.sweep(crate::app::NOW).await.unwrap();
}
