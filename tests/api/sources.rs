//! `POST /v1/sources`.

use axum::body::Body;
use http::{Method, Request, Version};

use crate::app::{API_BODY_LIMIT, TestApp, chunked};

async fn create_with(
    app: &TestApp,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> crate::app::Answer {
    let bearer = format!("Bearer {}", app.api_token);
    let all = [&[("authorization", bearer.as_str())], headers].concat();
    app.call(Method::POST, "/v1/sources", &all, body).await
}

#[tokio::test]
async fn a_source_has_two_links_and_nothing_else() {
    let app = TestApp::new().await;
    let answer = create_with(&app, &[("host", "x.example:81")], "").await;
    assert_eq!(answer.status, 201);
    let json = answer.json();
    assert_eq!(json.as_object().unwrap().len(), 1);
    let source = json["source"].as_object().unwrap();
    assert_eq!(source.len(), 2);

    let split = |key: &str| {
        let url = source[key].as_str().unwrap();
        let rest = url.strip_prefix("http://x.example:81/v1/sources/").unwrap();
        let (id, token) = rest.split_once("?token=").unwrap();
        (id.to_owned(), token.to_owned())
    };
    let (upload_id, upload_token) = split("upload_url");
    let (download_id, download_token) = split("download_url");
    assert_eq!(upload_id, download_id);
    assert_ne!(upload_token, download_token);
    for token in [upload_token, download_token] {
        assert_eq!(token.len(), 32);
        assert!(
            token
                .bytes()
                .all(|byte| b"0123456789abcdef".contains(&byte))
        );
    }
    app.assert_nothing_stored();
}

#[tokio::test]
async fn the_body_may_be_empty_or_any_object() {
    let app = TestApp::new().await;
    for body in ["", "{}", " \n", r#"{"source":{"a":[1]}}"#, "\u{feff}{}"] {
        let answer = create_with(&app, &[], body).await;
        assert_eq!(answer.status, 201, "{body}");
    }
    let json = [("content-type", "application/json")];
    assert_eq!(create_with(&app, &json, "{}").await.status, 201);
}

#[tokio::test]
async fn a_body_that_is_no_object_is_refused() {
    let app = TestApp::new().await;
    for body in ["[]", "1", "null", "{", "{}{}", "\u{1f}", "token=1"] {
        let text = create_with(&app, &[], body).await.error(400, &["error"]);
        let told = "There was a problem in the JSON you submitted: ";
        assert!(text.starts_with(told), "{text}");
    }
}

#[tokio::test]
async fn a_body_of_the_limit_is_taken_and_one_byte_more_is_not() {
    let app = TestApp::new().await;
    let limit = usize::try_from(API_BODY_LIMIT).unwrap();
    let padded = |length: usize| format!("{{}}{}", " ".repeat(length - 2));
    assert_eq!(create_with(&app, &[], padded(limit)).await.status, 201);
    let over = padded(limit + 1);
    let chunks = chunked(&[over.as_bytes()]);
    for body in [Body::from(over.clone()), chunks] {
        let text = create_with(&app, &[], body).await.error(413, &["error"]);
        assert!(text.contains("64.0 KiB (65536 bytes)"), "{text}");
    }
}

#[tokio::test]
async fn a_request_without_a_usable_host_is_refused_and_makes_nothing() {
    let app = TestApp::new().await;
    for host in ["a b", "user@x.example", "x.example/y"] {
        let answer = create_with(&app, &[("host", host)], "").await;
        answer.error(400, &["error"]);
        assert_eq!(answer.header("connection"), "close", "{host}");
    }
    let request = Request::post("/v1/sources").body(Body::empty()).unwrap();
    app.send(request).await.error(400, &["error"]);
    let old = Request::get("/v1/sources").version(Version::HTTP_10);
    let answer = app.send(old.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 405, "HTTP/1.0 knows no Host");
}
