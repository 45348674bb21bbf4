//! The events of a user and of an application.

use http::Method;
use serde_json::{Value, json};

use crate::app::{NOW, TestApp};

async fn events(app: &TestApp, uri: &str) -> Vec<Value> {
    let answer = app.call_own(Method::GET, uri, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["events"].as_array().unwrap().clone()
}

/// Type and data of each, the newest first.
fn told(events: &[Value]) -> Vec<(String, Value)> {
    let told = |event: &Value| {
        let name = event["type"].as_str().unwrap().to_owned();
        (name, event["type_data"].clone())
    };
    events.iter().map(told).collect()
}

/// Moves the clock on after each call, so that the order is known.
async fn call(app: &TestApp, method: Method, uri: &str, body: &str) -> Value {
    let answer = app.call_own(method, uri, body).await;
    assert!(answer.status.is_success(), "{answer:?}");
    app.clock.advance(std::time::Duration::from_millis(1));
    if answer.body.is_empty() {
        Value::Null
    } else {
        answer.json()
    }
}

#[tokio::test]
async fn what_happens_to_an_app_is_told_without_any_value() {
    let app = TestApp::new().await;
    let name = r#"{"app":{"name":"my-shop"}}"#;
    let made = call(&app, Method::POST, "/v1/apps", name).await;
    let all = "/v1/apps/my-shop/variables";
    let variable = r#"{"variable":{"name":"KEY","value":"s3cret"}}"#;
    let variable = call(&app, Method::POST, all, variable).await;
    let one = format!("{all}/{}", variable["variable"]["id"].as_str().unwrap());
    call(&app, Method::PATCH, &one, r#"{"value":"s3cret"}"#).await;
    let some = r#"{"variables":[{"name":"KEY","value":"s3cret"},{"name":"NEW","value":"s3cret"}]}"#;
    let some = call(&app, Method::PUT, all, some).await;
    call(&app, Method::DELETE, &one, "").await;
    let ids = json!({ "variable_ids": [some["variables"][1]["id"]] }).to_string();
    call(&app, Method::DELETE, all, &ids).await;
    let rename = r#"{"current_name":"my-shop","new_name":"my-store"}"#;
    call(&app, Method::POST, "/v1/apps/my-shop/rename", rename).await;

    let of_app = events(&app, "/v1/apps/my-store/events").await;
    let key = json!([{ "name": "KEY" }]);
    let new = json!([{ "name": "NEW" }]);
    let mut expected = [
        (
            "rename_app",
            json!({ "old_name": "my-shop", "new_name": "my-store" }),
        ),
        (
            "edit_variables",
            json!({ "new_vars": [], "updated_vars": [], "deleted_vars": new }),
        ),
        ("delete_variable", json!({ "name": "KEY" })),
        (
            "edit_variables",
            json!({ "new_vars": new, "updated_vars": key, "deleted_vars": [] }),
        ),
        ("edit_variable", json!({ "name": "KEY" })),
        ("new_variable", json!({ "name": "KEY" })),
        ("new_app", json!({ "git_source": null })),
    ]
    .map(|(name, data)| (name.to_owned(), data))
    .to_vec();
    assert_eq!(told(&of_app), expected);
    let first = of_app.last().unwrap();
    let user = app.call_own(Method::GET, "/v1/users/self", "").await.json();
    let expected_first = json!({
        "id": first["id"],
        "created_at": "2027-01-15T08:00:00.000Z",
        "user": { "id": user["user"]["id"], "username": "admin", "email": "" },
        "app_id": made["app"]["id"],
        "app_name": "my-shop",
        "type": "new_app",
        "type_data": { "git_source": null },
    });
    assert_eq!(first, &expected_first);

    let delete = "/v1/apps/my-store?current_name=my-store";
    call(&app, Method::DELETE, delete, "").await;
    expected.insert(0, ("delete_app".to_owned(), json!({})));
    let of_user = events(&app, "/v1/events").await;
    assert_eq!(told(&of_user), expected);
    app.call_own(Method::GET, "/v1/apps/my-store/events", "")
        .await
        .error(404, &["error"]);
    app.assert_nothing_contains("s3cret");
}

#[tokio::test]
async fn tokens_that_are_made_and_deleted_are_events_of_their_user_alone() {
    let app = TestApp::new().await;
    let made = call(&app, Method::POST, "/v1/tokens", r#"{"name":"ci"}"#).await;
    let id = made["token"]["id"].as_str().unwrap();
    call(&app, Method::DELETE, &format!("/v1/tokens/{id}"), "").await;
    let note = json!({ "token_name": "ci", "token_id": id });
    let of_user = events(&app, "/v1/events").await;
    let expected = ["delete_token", "new_token"].map(|name| (name.to_owned(), note.clone()));
    assert_eq!(told(&of_user), expected);
    assert_eq!(of_user[0]["app_id"], Value::Null);
    let bob = app.users.add("bob", "", NOW).await.unwrap().id;
    let (_, bobs) = app.api_tokens.create("ci", bob, NOW).await.unwrap();
    let answer = app.call_as(bobs.reveal(), Method::GET, "/v1/events", "");
    assert_eq!(answer.await.json()["events"], json!([]));
}

#[tokio::test]
async fn both_lists_have_pages_and_an_app_is_told_what_is_about_it() {
    let app = TestApp::new().await;
    for number in 0..3 {
        let name = json!({ "app": { "name": format!("number-{number}") } });
        call(&app, Method::POST, "/v1/apps", &name.to_string()).await;
    }
    let answer = app.call_own(Method::GET, "/v1/events?page=2&per_page=2", "");
    let answer = answer.await.json();
    assert_eq!(answer["events"].as_array().unwrap().len(), 1);
    assert_eq!(answer["events"][0]["app_name"], "number-0");
    let expected = json!({
        "current_page": 2, "prev_page": 1, "next_page": null, "total_pages": 2, "total_count": 3,
    });
    assert_eq!(answer["meta"]["pagination"], expected);
    let of_app = app.call_own(
        Method::GET,
        "/v1/apps/number-1/events?page=1&per_page=1",
        "",
    );
    let of_app = of_app.await.json();
    assert_eq!(of_app["events"][0]["app_name"], "number-1");
    assert_eq!(of_app["meta"]["pagination"]["total_count"], 1);
    let wrong = app.call_own(Method::GET, "/v1/events?page=x", "").await;
    assert!(wrong.attribute_errors()["page"][0].is_string());
}

/// A note that cannot be taken is no reason to refuse.
#[tokio::test]
async fn an_event_that_cannot_be_recorded_fails_no_call() {
    let app = TestApp::new().await;
    app.put_a_file_in_place_of_the_events();
    app.create_app("my-shop").await;
    let shown = app.call_own(Method::GET, "/v1/apps/my-shop", "").await;
    assert_eq!(shown.status, 200);
}
