//! The platform's own command line: its exact calls, one after the other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;

use crate::app::{Answer, TestApp};

/// Calls as it does, with what it sends each time.
async fn call(
    app: &TestApp,
    authorization: &str,
    method: Method,
    uri: &str,
    body: &'static str,
) -> Answer {
    let headers = [
        ("authorization", authorization),
        ("host", "x.example"),
        ("user-agent", "Scalingo Go Client"),
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip"),
    ];
    app.call(method, uri, &headers, body).await
}

#[tokio::test]
async fn it_logs_in_and_uploads() {
    let app = TestApp::new().await;
    let basic = format!("Basic {}", STANDARD.encode(format!(":{}", app.api_token)));
    let exchanged = call(&app, &basic, Method::POST, "/v1/tokens/exchange", "{}").await;
    let bearer = format!("Bearer {}", exchanged.json()["token"].as_str().unwrap());
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
