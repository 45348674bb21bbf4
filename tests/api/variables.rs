//! The variables of an application.

use http::Method;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp};

const ALL: &str = "/v1/apps/my-shop/variables";

async fn with_app() -> TestApp {
    let app = TestApp::new().await;
    app.create_app("my-shop").await;
    app
}

async fn create(app: &TestApp, name: &str, value: &str) -> Answer {
    let body = json!({ "variable": { "name": name, "value": value } });
    app.call_own(Method::POST, ALL, &body.to_string()).await
}

async fn set(app: &TestApp, variables: Value) -> Answer {
    let body = json!({ "variables": variables }).to_string();
    app.call_own(Method::PUT, ALL, &body).await
}

/// Names and values of all.
async fn all(app: &TestApp) -> Vec<(String, String)> {
    let listed = app.call_own(Method::GET, ALL, "").await.json();
    assert_eq!(listed.as_object().unwrap().len(), 1);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let variables = listed["variables"].as_array().unwrap().iter();
    let pair = |variable: &Value| (text(&variable["name"]), text(&variable["value"]));
    variables.map(pair).collect()
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn a_variable_is_made_read_changed_and_deleted() {
    let app = with_app().await;
    let made = create(&app, "KEY", "a value").await;
    assert_eq!(made.status, 201);
    let made = made.json();
    let id = made["variable"]["id"].as_str().unwrap();
    let expected = json!({ "variable": { "id": id, "name": "KEY", "value": "a value" } });
    assert_eq!(made, expected);
    assert_eq!(all(&app).await, [pair("KEY", "a value")]);
    let uri = format!("{ALL}?aliases=true");
    let aliased = app.call_own(Method::GET, &uri, "").await.json();
    assert_eq!(aliased["variables"], json!([expected["variable"]]));
    let uri = format!("{ALL}/{id}");
    for (method, body, value) in [
        (Method::PATCH, r#"{"variable":{"value":"two"}}"#, "two"),
        (Method::PUT, r#"{"variable":{"name":"KEY","value":""}}"#, ""),
        (
            Method::PUT,
            r#"{"value":"three\nlines\n"}"#,
            "three\nlines\n",
        ),
    ] {
        let changed = app.call_own(method, &uri, body).await;
        assert_eq!(changed.status, 200);
        let expected = json!({ "variable": { "id": id, "name": "KEY", "value": value } });
        assert_eq!(changed.json(), expected);
        assert_eq!(all(&app).await, [pair("KEY", value)]);
    }
    let deleted = app.call_own(Method::DELETE, &uri, "").await;
    assert_eq!((deleted.status.as_u16(), deleted.body.len()), (204, 0));
    assert_eq!(all(&app).await, []);
    for method in [Method::PATCH, Method::PUT, Method::DELETE] {
        let gone = app.call_own(method, &uri, r#"{"value":"x"}"#).await;
        assert_eq!(gone.error(404, &["error"]), "the app has no such variable");
    }
}

#[tokio::test]
async fn some_are_set_at_once_and_the_others_stay() {
    let app = with_app().await;
    create(&app, "STAYS", "1").await;
    create(&app, "CHANGES", "2").await;
    let wanted = json!([
        { "id": "", "name": "NEW", "value": "3" },
        { "name": "CHANGES", "value": "4" },
    ]);
    let answer = set(&app, wanted).await;
    assert_eq!(answer.status, 200);
    let names = answer.json()["variables"].clone();
    assert_eq!(
        (&names[0]["name"], &names[1]["name"]),
        (&json!("NEW"), &json!("CHANGES"))
    );
    let expected = [pair("CHANGES", "4"), pair("NEW", "3"), pair("STAYS", "1")];
    assert_eq!(all(&app).await, expected);
    let listed = app.call_own(Method::GET, ALL, "").await.json();
    let id = |at: usize| listed["variables"][at]["id"].clone();
    let delete = async |ids: Value| {
        let body = json!({ "variable_ids": ids }).to_string();
        app.call_own(Method::DELETE, ALL, &body).await
    };
    for ids in [json!([id(0), "nonsense"]), json!([id(0), app_id()])] {
        delete(ids).await.error(404, &["error"]);
        assert_eq!(all(&app).await, expected);
    }
    assert_eq!(delete(json!([id(0), id(1), id(0)])).await.status, 204);
    assert_eq!(all(&app).await, [pair("STAYS", "1")]);
}

/// An id that is none of a variable.
fn app_id() -> String {
    "123e4567-e89b-82d3-a456-426655440000".to_owned()
}

#[tokio::test]
async fn variables_go_with_their_app() {
    let app = with_app().await;
    create(&app, "KEY", "s3cret").await;
    let delete = "/v1/apps/my-shop?current_name=my-shop";
    assert_eq!(app.call_own(Method::DELETE, delete, "").await.status, 204);
    app.assert_nothing_contains("s3cret");
    app.create_app("my-shop").await;
    assert_eq!(all(&app).await, []);
}
