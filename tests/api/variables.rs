//! The variables of an application.

use http::Method;
use serde_json::{Value, json};

use crate::app::{Answer, NOW, TestApp};

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
    assert_eq!(delete(json!([id(0), id(1)])).await.status, 204);
    assert_eq!(all(&app).await, [pair("STAYS", "1")]);
}

/// An id that is none of a variable.
fn app_id() -> String {
    "123e4567-e89b-82d3-a456-426655440000".to_owned()
}

#[tokio::test]
async fn what_is_no_variable_is_refused_and_nothing_changes() {
    let app = with_app().await;
    let made = create(&app, "KEY", "1").await.json();
    let long = json!({ "name": "A", "value": "x".repeat(8_193) });
    for (variable, attribute, why) in [
        (json!({}), "name", "can't be blank"),
        (json!({ "name": "A" }), "value", "can't be blank"),
        (
            json!({ "name": "A", "value": 5 }),
            "value",
            "must be a string",
        ),
        (json!({ "name": "9A", "value": "" }), "name", "'9A'"),
        (json!({ "name": "A-B", "value": "" }), "name", "'A-B'"),
        (
            json!({ "name": "WAYSTATION_APP", "value": "" }),
            "name",
            "WAYSTATION_",
        ),
        (json!({ "name": "A", "value": "a\0b" }), "value", "NUL"),
        (long, "value", "8193 bytes; 8192 is the limit"),
    ] {
        let one = json!({ "variable": variable }).to_string();
        let one = app.call_own(Method::POST, ALL, &one).await;
        let many = set(&app, json!([{ "name": "NEW", "value": "" }, variable])).await;
        for refused in [one, many] {
            let errors = refused.attribute_errors();
            let text = errors[attribute][0].as_str().unwrap();
            assert!(text.contains(why), "{variable}: {text}");
        }
    }
    let uri = format!("{ALL}/{}", made["variable"]["id"].as_str().unwrap());
    for method in [Method::PATCH, Method::PUT] {
        let refused = app.call_own(method, &uri, r#"{"value":"a\u0000b"}"#).await;
        assert!(refused.attribute_errors()["value"][0].is_string());
    }
    for body in ["", r#"{"variables":{}}"#, r#"{"variables":["A=1"]}"#] {
        let errors = app
            .call_own(Method::PUT, ALL, body)
            .await
            .attribute_errors();
        assert!(errors["variables"][0].is_string());
    }
    for body in ["", r#"{"variable_ids":"x"}"#, r#"{"variable_ids":[1]}"#] {
        let errors = app
            .call_own(Method::DELETE, ALL, body)
            .await
            .attribute_errors();
        assert!(errors["variable_ids"][0].is_string());
    }
    let twice = json!([{ "name": "A", "value": "1" }, { "name": "A", "value": "2" }]);
    let errors = set(&app, twice).await.attribute_errors();
    assert_eq!(errors, json!({ "variables": ["has A twice"] }));
    let taken = create(&app, "KEY", "2").await.attribute_errors();
    assert!(
        taken["name"][0]
            .as_str()
            .unwrap()
            .contains("already been taken")
    );
    let patch = format!("{ALL}/nonsense");
    let nonsense = app
        .call_own(Method::PATCH, &patch, r#"{"value":"x"}"#)
        .await;
    nonsense.error(404, &["error"]);
    assert_eq!(all(&app).await, [pair("KEY", "1")]);
}

#[tokio::test]
async fn the_variables_of_another_are_not_there_and_go_with_their_app() {
    let app = with_app().await;
    let made = create(&app, "KEY", "s3cret").await.json();
    let bob = app.users.add("bob", "", NOW).await.unwrap().id;
    let (_, bobs) = app.api_tokens.create("ci", bob, NOW).await.unwrap();
    let id = made["variable"]["id"].as_str().unwrap();
    for (method, uri) in [
        (Method::GET, ALL.to_owned()),
        (Method::PUT, ALL.to_owned()),
        (Method::DELETE, format!("{ALL}/{id}")),
    ] {
        let body = r#"{"variables":[]}"#;
        let answer = app.call_as(bobs.reveal(), method, &uri, body).await;
        answer.error(404, &["error"]);
    }
    assert_eq!(all(&app).await, [pair("KEY", "s3cret")]);
    let delete = "/v1/apps/my-shop?current_name=my-shop";
    assert_eq!(app.call_own(Method::DELETE, delete, "").await.status, 204);
    app.assert_nothing_contains("s3cret");
    app.create_app("my-shop").await;
    assert_eq!(all(&app).await, []);
}
