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

#[tokio::test]
async fn each_of_its_calls_about_apps_variables_deployments_events_and_tokens_is_answered() {
    let it = Deploying::new().await;
    let bearer = log_in(&it).await;
    let deployment = it.deploy("my-shop").await;
    let pairs = json!({ "variables": [{ "name": "KEY", "value": "one" }, { "name": "LAST", "value": "" }] });
    let made = it
        .call(Method::PUT, "/v1/apps/my-shop/variables", pairs.to_string())
        .await;
    let made = unpacked(&made);
    let id = |number: usize| made[number]["id"].as_str().unwrap().to_owned();
    let [variable, last] = [id(0), id(1)];
    let token = call(
        &it,
        &bearer,
        &Method::POST,
        "tokens",
        &json!({ "token": { "name": "one" } }),
    )
    .await;
    let token = unpacked(&token)["id"].as_str().unwrap().to_owned();
    let none = json!(null);
    let name = json!({ "app": { "name": "my-other" } });
    let rename = json!({ "current_name": "my-other", "new_name": "my-third" });
    let pair = |name: &str| json!({ "name": name, "value": "two" });
    for (method, path, body, status) in [
        (Method::GET, "users/self".to_owned(), none.clone(), 200),
        (Method::GET, "tokens".to_owned(), none.clone(), 200),
        (
            Method::PUT,
            format!("tokens/{token}/renew"),
            none.clone(),
            200,
        ),
        (Method::DELETE, format!("tokens/{token}"), none.clone(), 204),
        (Method::GET, "apps".to_owned(), none.clone(), 200),
        (Method::POST, "apps".to_owned(), name, 201),
        (Method::POST, "apps/my-other/rename".to_owned(), rename, 200),
        (Method::GET, "apps/my-third".to_owned(), none.clone(), 200),
        // What it is given for a body goes into the query where the method has none.
        (
            Method::DELETE,
            "apps/my-third?current_name=my-third".to_owned(),
            none.clone(),
            204,
        ),
        (
            Method::GET,
            "apps/my-shop/variables".to_owned(),
            none.clone(),
            200,
        ),
        (
            Method::POST,
            "apps/my-shop/variables".to_owned(),
            json!({ "variable": pair("NEW") }),
            201,
        ),
        (
            Method::PUT,
            format!("apps/my-shop/variables/{variable}"),
            json!({ "variable": { "value": "two" } }),
            200,
        ),
        (
            Method::PUT,
            "apps/my-shop/variables".to_owned(),
            json!({ "variables": [pair("KEY"), pair("THIRD")] }),
            200,
        ),
        (
            Method::DELETE,
            format!("apps/my-shop/variables/{variable}"),
            none.clone(),
            204,
        ),
        (
            Method::DELETE,
            "apps/my-shop/variables".to_owned(),
            json!({ "variable_ids": [last] }),
            204,
        ),
        (
            Method::GET,
            "apps/my-shop/deployments".to_owned(),
            none.clone(),
            200,
        ),
        (
            Method::GET,
            "apps/my-shop/deployments?page=1&per_page=5".to_owned(),
            none.clone(),
            200,
        ),
        (
            Method::GET,
            format!("apps/my-shop/deployments/{deployment}"),
            none.clone(),
            200,
        ),
        (Method::GET, "events".to_owned(), none.clone(), 200),
        (
            Method::GET,
            "apps/my-shop/events?page=1".to_owned(),
            none.clone(),
            200,
        ),
    ] {
        let answer = call(&it, &bearer, &method, &path, &body).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        if status != 204 {
            unpacked(&answer);
        }
    }
    let path = format!("apps/my-shop/deployments/{deployment}/output");
    let log = call(&it, &bearer, &Method::GET, &path, &none).await;
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
