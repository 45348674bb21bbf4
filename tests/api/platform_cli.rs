//! The platform's own command line: its exact calls, one after the other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::json;

use crate::app::{Answer, TestApp};
use crate::deploying::{BASE, Deploying};

/// Calls as it does, with what it sends each time.
async fn call(app: &TestApp, authorization: &str, method: Method, uri: &str, body: &str) -> Answer {
    let headers = [
        ("authorization", authorization),
        ("host", "x.example"),
        ("user-agent", "Scalingo Go Client"),
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip"),
    ];
    app.call(method, uri, &headers, body.to_owned()).await
}

async fn log_in(app: &TestApp) -> String {
    let basic = format!("Basic {}", STANDARD.encode(format!(":{}", app.api_token)));
    let exchanged = call(app, &basic, Method::POST, "/v1/tokens/exchange", "{}").await;
    format!("Bearer {}", exchanged.json()["token"].as_str().unwrap())
}

#[tokio::test]
async fn it_logs_in_and_uploads() {
    let app = TestApp::new().await;
    let bearer = log_in(&app).await;
    for uri in ["/v1/users/self?", "/v1/regions?"] {
        let answer = call(&app, &bearer, Method::GET, uri, "").await;
        assert_eq!(answer.status, 200, "{uri}");
        // It would unpack what is encoded, but says no more than that it could.
        assert!(!answer.headers.contains_key("content-encoding"));
    }
    let created = call(&app, &bearer, Method::POST, "/v1/sources", "{}").await;
    assert_eq!(created.status, 201);
    let url = created.json()["source"]["upload_url"].clone();
    let path = url.as_str().unwrap().strip_prefix("http://x.example");

    let headers = [("content-type", "application/x-gzip")];
    let sent = app.call(Method::PUT, path.unwrap(), &headers, "an archive");
    assert_eq!(sent.await.status, 200, "it takes no other for a success");
}

/// `create`, `apps`, `rename` and `destroy`. It reads apps into maps of which every value has to be an app, or a list of
/// apps.
#[tokio::test]
async fn it_creates_lists_renames_and_destroys_apps() {
    let app = TestApp::new().await;
    let bearer = log_in(&app).await;
    let body = r#"{"app":{"name":"my-shop"}}"#;
    let created = call(&app, &bearer, Method::POST, "/v1/apps", body).await;
    assert_eq!(created.status, 201, "it takes no other");
    assert_eq!(keys(&created), ["app"]);
    assert!(created.json()["app"]["links"]["deployments_stream"].is_string());
    let listed = call(&app, &bearer, Method::GET, "/v1/apps?", "").await;
    assert_eq!(keys(&listed), ["apps"]);
    assert!(listed.json()["apps"][0]["owner"]["username"].is_string());
    let shown = call(&app, &bearer, Method::GET, "/v1/apps/my-shop?", "").await;
    assert_eq!(keys(&shown), ["app"]);

    let body = r#"{"current_name":"my-shop","new_name":"my-store"}"#;
    let renamed = call(&app, &bearer, Method::POST, "/v1/apps/my-shop/rename", body).await;
    assert_eq!(
        (renamed.status.as_u16(), keys(&renamed)),
        (200, vec!["app".to_owned()])
    );
    let uri = "/v1/apps/my-store?current_name=my-store";
    let destroyed = call(&app, &bearer, Method::DELETE, uri, "").await;
    assert_eq!(destroyed.status, 204, "it takes no other");
    let gone = call(&app, &bearer, Method::GET, "/v1/apps/my-store?", "").await;
    // With a resource it would crash on a host without a dot, or hide the sentence.
    gone.error(404, &["error"]);
}

/// `env`, `env-set` and `env-unset`, which looks for the ids first.
#[tokio::test]
async fn it_sets_and_unsets_variables() {
    let app = TestApp::new().await;
    let bearer = log_in(&app).await;
    app.create_app("my-shop").await;
    let all = "/v1/apps/my-shop/variables";
    let body =
        r#"{"variables":[{"id":"","name":"KEY","value":"one"},{"id":"","name":"NEW","value":""}]}"#;
    let set = call(&app, &bearer, Method::PUT, all, body).await;
    assert_eq!(
        (set.status.as_u16(), keys(&set)),
        (200, vec!["variables".to_owned()])
    );
    for aliases in ["true", "false"] {
        let uri = format!("{all}?aliases={aliases}");
        let listed = call(&app, &bearer, Method::GET, &uri, "").await;
        assert_eq!(listed.status, 200);
        let variables = &listed.json()["variables"];
        assert_eq!(
            (&variables[0]["name"], &variables[0]["value"]),
            (&"KEY".into(), &"one".into())
        );
    }
    let id = set.json()["variables"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let unset = call(&app, &bearer, Method::DELETE, &format!("{all}/{id}?"), "").await;
    assert_eq!(unset.status, 204, "it takes no other");
}

/// `timeline` and `user-timeline`.
#[tokio::test]
async fn it_reads_what_happened() {
    let app = TestApp::new().await;
    let bearer = log_in(&app).await;
    app.create_app("my-shop").await;
    for uri in ["/v1/apps/my-shop/events", "/v1/events"] {
        let uri = format!("{uri}?page=1&per_page=30");
        let listed = call(&app, &bearer, Method::GET, &uri, "").await;
        assert_eq!(keys(&listed), ["events", "meta"]);
        let event = &listed.json()["events"][0];
        assert_eq!(event["type"], "new_app");
        assert!(event["type_data"].is_object(), "it crashes without");
        assert!(event["user"]["username"].is_string());
    }
}

/// `deploy ARCHIVE`: a source, the upload, a deployment of its download link; then it opens the stream, unless it
/// is told `--no-follow`, and asks for the deployment when that has ended. `deployments`, `deployment-logs`, `deployment-delete-cache`.
#[tokio::test]
async fn it_deploys_and_reads_what_came_of_it() {
    let it = Deploying::new().await;
    let bearer = log_in(&it.app).await;
    let call =
        async |method, uri: &str, body: &str| call(&it.app, &bearer, method, uri, body).await;
    let source = it.source().await;
    let all = "/v1/apps/my-shop/deployments";
    for git_ref in [json!(null), json!("v1")] {
        let body = json!({ "deployment": { "git_ref": git_ref, "source_url": source } });
        let created = call(Method::POST, all, &body.to_string()).await;
        assert_eq!(created.status, 201, "it takes no other");
        assert_eq!(keys(&created), ["deployment"]);
        let deployment = &created.json()["deployment"];
        assert_eq!(
            (&deployment["git_ref"], &deployment["status"]),
            (&git_ref, &json!("queued"))
        );
        it.app.clock.advance(std::time::Duration::from_millis(1));
    }
    // `deploy URL`, which does the same with an archive elsewhere.
    let elsewhere = json!({ "deployment": { "git_ref": null, "source_url": "https://github.com/a/b/archive/c.tar.gz" } });
    let created = call(Method::POST, all, &elsewhere.to_string()).await;
    assert_eq!(created.status, 201, "it takes no other");
    assert_eq!(created.json()["deployment"]["source"]["host"], "github.com");

    let claim = it.run().await;
    it.append(&claim, 0, "built\n").await;
    it.report(&claim, "success").await;

    // On any failure of this call it crashes.
    let uri = format!("{all}/{}?", claim.id());
    let shown = call(Method::GET, &uri, "").await;
    assert_eq!(
        (shown.status.as_u16(), keys(&shown)),
        (200, vec!["deployment".to_owned()])
    );
    assert_eq!(shown.json()["deployment"]["status"], "success");
    let listed = call(Method::GET, &format!("{all}?"), "").await.json();
    assert_eq!(listed["deployments"].as_array().unwrap().len(), 3);
    for deployment in listed["deployments"].as_array().unwrap() {
        // It reads these without a look at whether they are there.
        assert!(deployment["pusher"]["username"].is_string());
        assert!(deployment["created_at"].is_string());
        assert!(deployment["links"]["output"].is_string());
    }
    // Of the link it takes scheme, host and path, and drops a query.
    let output = shown.json()["deployment"]["links"]["output"].clone();
    let output = output.as_str().unwrap().strip_prefix(BASE).unwrap();
    assert!(!output.contains('?'));
    let log = call(Method::GET, &format!("{output}?"), "").await;
    assert_eq!(
        (log.status.as_u16(), log.body.as_ref()),
        (200, b"built\n".as_slice())
    );
    let cache = call(Method::DELETE, "/v1/apps/my-shop/caches/deployment?", "").await;
    assert_eq!(cache.status, 204, "it takes no other");
    let events = call(
        Method::GET,
        "/v1/apps/my-shop/events?page=1&per_page=30",
        "",
    )
    .await;
    let event = &events.json()["events"][0];
    assert_eq!(
        (&event["type"], &event["type_data"]["status"]),
        (&json!("deployment"), &json!("success"))
    );
}

fn keys(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    json.as_object().unwrap().keys().cloned().collect()
}
