//! The platform's Ruby library (4.0.beta4): its exact requests, as its source says. It takes out `meta` of an answer and
//! unpacks what is left if that has one key; a status of an error is an exception.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use crate::app::Answer;
use crate::deploying::Deploying;

/// Sends what it sends. Without a body it names no type but for POST, where the HTTP client of the language adds one.
async fn call(
    it: &Deploying,
    authorization: &str,
    method: &Method,
    path: &str,
    body: &Value,
) -> Answer {
    let mut headers = vec![
        ("user-agent", "Scalingo Ruby Client v4.0.beta4"),
        ("accept", "application/json"),
        ("authorization", authorization),
        ("host", "x.example"),
    ];
    let body = match (body, method) {
        (Value::Null, &Method::POST) => {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
            String::new()
        }
        (Value::Null, _) => String::new(),
        (body, _) => {
            headers.push(("content-type", "application/json"));
            body.to_string()
        }
    };
    it.app
        .call(method.clone(), &format!("/v1/{path}"), &headers, body)
        .await
}

/// What it hands to its caller.
fn unpacked(answer: &Answer) -> Value {
    let Value::Object(mut body) = answer.json() else {
        panic!("{answer:?}");
    };
    body.remove("meta");
    assert_eq!(body.len(), 1, "{answer:?}");
    body.into_iter().next().unwrap().1
}

async fn log_in(it: &Deploying) -> String {
    let basic = format!(
        "Basic {}",
        STANDARD.encode(format!(":{}", it.app.api_token))
    );
    let exchanged = call(it, &basic, &Method::POST, "tokens/exchange", &json!(null)).await;
    assert_eq!(exchanged.status, 200, "{exchanged:?}");
    format!("Bearer {}", unpacked(&exchanged).as_str().unwrap())
}

/// What it asks for, and the status of the answer.
type Call = (Method, String, Value, u16);

fn asked(method: Method, path: impl Into<String>, status: u16) -> Call {
    (method, path.into(), Value::Null, status)
}

fn sent(method: Method, path: impl Into<String>, body: Value, status: u16) -> Call {
    (method, path.into(), body, status)
}

/// Every answer is as the library reads it.
async fn check(it: &Deploying, calls: impl IntoIterator<Item = Call>) {
    let bearer = log_in(it).await;
    for (method, path, body, status) in calls {
        let answer = call(it, &bearer, &method, &path, &body).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        if status != 204 {
            unpacked(&answer);
        }
    }
}

#[tokio::test]
async fn its_calls_about_users_tokens_and_apps_are_answered() {
    let it = Deploying::new().await;
    let bearer = log_in(&it).await;
    let body = json!({ "token": { "name": "one" } });
    let token = call(&it, &bearer, &Method::POST, "tokens", &body).await;
    let token = unpacked(&token)["id"].as_str().unwrap().to_owned();
    let rename = json!({ "current_name": "my-other", "new_name": "my-third" });
    let calls = [
        asked(Method::GET, "users/self", 200),
        asked(Method::GET, "tokens", 200),
        asked(Method::PUT, format!("tokens/{token}/renew"), 200),
        asked(Method::DELETE, format!("tokens/{token}"), 204),
        asked(Method::GET, "apps", 200),
        sent(
            Method::POST,
            "apps",
            json!({ "app": { "name": "my-other" } }),
            201,
        ),
        sent(Method::POST, "apps/my-other/rename", rename, 200),
        asked(Method::GET, "apps/my-third", 200),
        // What it is given for a body goes into the query where the method has none.
        asked(Method::DELETE, "apps/my-third?current_name=my-third", 204),
    ];
    check(&it, calls).await;
}

#[tokio::test]
async fn its_calls_about_variables_are_answered() {
    let it = Deploying::new().await;
    let all = "apps/my-shop/variables";
    let pair = |name: &str| json!({ "name": name, "value": "two" });
    let pairs = json!({ "variables": [pair("KEY"), pair("LAST")] });
    let made = it
        .call(Method::PUT, &format!("/v1/{all}"), pairs.to_string())
        .await;
    let made = unpacked(&made);
    let id = |number: usize| made[number]["id"].as_str().unwrap();
    let one = format!("{all}/{}", id(0));
    let calls = [
        asked(Method::GET, all, 200),
        sent(Method::POST, all, json!({ "variable": pair("NEW") }), 201),
        sent(
            Method::PUT,
            one.as_str(),
            json!({ "variable": { "value": "two" } }),
            200,
        ),
        sent(
            Method::PUT,
            all,
            json!({ "variables": [pair("KEY"), pair("THIRD")] }),
            200,
        ),
        asked(Method::DELETE, one, 204),
        sent(Method::DELETE, all, json!({ "variable_ids": [id(1)] }), 204),
    ];
    check(&it, calls).await;
}

#[tokio::test]
async fn its_calls_about_deployments_and_events_are_answered() {
    let it = Deploying::new().await;
    let id = it.deploy("my-shop").await;
    let all = "apps/my-shop/deployments";
    let calls = [
        asked(Method::GET, all, 200),
        asked(Method::GET, format!("{all}?page=1&per_page=5"), 200),
        asked(Method::GET, format!("{all}/{id}"), 200),
        asked(Method::GET, "events", 200),
        asked(Method::GET, "apps/my-shop/events?page=1", 200),
    ];
    check(&it, calls).await;
    let bearer = log_in(&it).await;
    let log = call(
        &it,
        &bearer,
        &Method::GET,
        &format!("{all}/{id}/output"),
        &Value::Null,
    )
    .await;
    assert_eq!(
        (log.status.as_u16(), log.header("content-type")),
        (200, "text/plain; charset=utf-8")
    );
}

#[tokio::test]
async fn what_this_service_has_not_is_said_in_a_sentence() {
    let it = Deploying::new().await;
    let bearer = log_in(&it).await;
    for (method, path, body) in [
        (
            Method::PUT,
            "apps/my-shop",
            json!({ "app": { "force_https": true } }),
        ),
        (Method::GET, "apps/my-shop/logs", json!(null)),
        (Method::GET, "event_types", json!(null)),
        (Method::GET, "event_categories", json!(null)),
        (
            Method::PUT,
            "users/account",
            json!({ "user": { "email": "a@example.com" } }),
        ),
        (Method::POST, "users/stop_free_trial", json!(null)),
        (Method::GET, "keys", json!(null)),
        (Method::GET, "apps/my-shop/containers", json!(null)),
        (Method::GET, "apps/my-shop/domains", json!(null)),
        (Method::GET, "apps/my-shop/collaborators", json!(null)),
    ] {
        let answer = call(&it, &bearer, &method, path, &body).await;
        let is_refused = [404, 405].contains(&answer.status.as_u16());
        assert!(is_refused, "{method} {path}: {answer:?}");
        assert!(answer.json()["error"].is_string(), "{answer:?}");
    }
}
