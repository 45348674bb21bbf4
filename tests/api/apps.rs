//! Applications: their names, their owners, and answers that the platform's clients can read.

use http::Method;
use serde_json::json;

use crate::app::TestApp;

#[tokio::test]
async fn an_app_has_all_that_clients_read_and_some_crash_without() {
    let app = TestApp::new().await;
    let body = r#"{"app":{"name":"my-shop","stack_id":"x","git_source":null}}"#;
    let made = app.call_own(Method::POST, "/v1/apps", body).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    let user = app.call_own(Method::GET, "/v1/users/self", "").await.json()["user"].clone();
    let id = made["app"]["id"].as_str().unwrap();
    let expected = json!({ "app": {
        "id": id,
        "name": "my-shop",
        "region": "waystation",
        "owner": { "id": user["id"], "username": "admin", "email": "" },
        "project": null,
        "git_url": "",
        "url": "",
        "base_url": "",
        "status": "new",
        "last_deployed_at": null,
        "last_deployed_by": null,
        "last_deployment_id": null,
        "created_at": "2027-01-15T08:00:00.000Z",
        "updated_at": "2027-01-15T08:00:00.000Z",
        "links": { "deployments_stream": format!("ws://x.example/v1/apps/{id}/deployments/stream") },
        "stack_id": null,
        "sticky_session": false,
        "force_https": false,
        "router_logs": false,
        "flags": {},
        "limits": {},
    }});
    assert_eq!(made, expected);
    for asked in ["my-shop", id] {
        let shown = app
            .call_own(Method::GET, &format!("/v1/apps/{asked}"), "")
            .await;
        assert_eq!(
            (shown.status.as_u16(), shown.json()),
            (200, expected.clone())
        );
        assert_eq!(shown.header("cache-control"), "private, no-store");
    }
    let listed = app.call_own(Method::GET, "/v1/apps", "").await.json();
    assert_eq!(listed, json!({ "apps": [expected["app"]] }));
}

#[tokio::test]
async fn a_list_without_apps_is_an_empty_list() {
    let app = TestApp::new().await;
    let listed = app.call_own(Method::GET, "/v1/apps", "").await;
    assert_eq!(listed.body, r#"{"apps":[]}"#);
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_makes_nothing() {
    let app = TestApp::new().await;
    let bearer = format!("Bearer {}", app.api_token);
    let headers = [("authorization", bearer.as_str()), ("x-dry-run", "true")];
    let rehearse = async |name: &str| {
        let body = json!({ "app": { "name": name } }).to_string();
        app.call(Method::POST, "/v1/apps", &headers, body).await
    };
    let good = rehearse("my-shop").await;
    assert_eq!(good.status, 201);
    assert_eq!(good.json()["app"]["name"], "my-shop");
    let listed = app.call_own(Method::GET, "/v1/apps", "").await.json();
    assert_eq!(listed, json!({ "apps": [] }));
    app.create_app("my-shop").await;
    for name in ["my-shop", "x"] {
        assert!(rehearse(name).await.attribute_errors()["name"][0].is_string());
    }
}

#[tokio::test]
async fn what_no_app_can_be_called_is_told_in_a_sentence_without_a_resource() {
    let app = TestApp::new().await;
    for asked in ["%ff", "..%2f..", "a%1b[31m"] {
        for (method, tail) in [
            (Method::GET, ""),
            (Method::DELETE, "?current_name=bobs-shop"),
            (Method::POST, "/rename"),
        ] {
            let uri = format!("/v1/apps/{asked}{tail}");
            let body = r#"{"current_name":"bobs-shop","new_name":"my-own-shop"}"#;
            let answer = app.call_own(method, &uri, body).await;
            let text = answer.error(404, &["error"]);
            assert!(text.starts_with("you have no app called "), "{text}");
        }
    }
}

#[tokio::test]
async fn an_app_is_renamed_if_it_has_the_name_that_is_said() {
    let app = TestApp::new().await;
    let made = app.create_app("my-shop").await;
    let body = r#"{"current_name":"my-shop","new_name":"my-store"}"#;
    let renamed = app
        .call_own(Method::POST, "/v1/apps/my-shop/rename", body)
        .await;
    assert_eq!(renamed.status, 200);
    assert_eq!(renamed.json()["app"]["id"], made["id"]);
    assert_eq!(renamed.json()["app"]["name"], "my-store");
    let gone = app.call_own(Method::GET, "/v1/apps/my-shop", "").await;
    gone.error(404, &["error"]);
    app.create_app("my-shop").await;
}

#[tokio::test]
async fn an_app_is_deleted_if_it_has_the_name_that_is_said() {
    let app = TestApp::new().await;
    app.create_app("my-shop").await;
    let delete = async |query: &str| {
        let uri = format!("/v1/apps/my-shop{query}");
        app.call_own(Method::DELETE, &uri, "").await
    };
    for query in [
        "",
        "?current_name=",
        "?current_name=my-stop",
        "?current_name=my-shop&current_name=my-shop",
    ] {
        let errors = delete(query).await.attribute_errors();
        assert!(errors["current_name"][0].is_string(), "{query}");
    }
    let deleted = delete("?current_name=my-shop").await;
    assert_eq!((deleted.status.as_u16(), deleted.body.len()), (204, 0));
    delete("?current_name=my-shop").await.error(404, &["error"]);
    app.create_app("my-shop").await;
}
