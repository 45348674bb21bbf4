//! The platform's own JavaScript library, unchanged. The calls of its command line are in
//! `tests/api/platform_cli.rs`.

use std::process::Command;

use serde_json::{Value, json};
use waystation_testing::program::{Program, run, tools, without_settings};
use waystation_testing::{Waystation, archive, repository};

use crate::scripted_runner::Deploying;

#[test]
fn the_platforms_javascript_library_works_unchanged() {
    let server = Waystation::start(&[]);
    let mut node = node("client.cjs");
    node.args([&server.url(""), server.api_token()]);
    let ended = run(node);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();

    assert_eq!(told["bearer"].as_str().unwrap().split('.').count(), 3);
    assert_eq!(told["user"]["username"], "admin");
    assert_eq!(told["regions"][0]["api"], server.url(""));
    assert_eq!(told["tokens"].as_array().unwrap().len(), 3);
    assert_eq!(told["created"]["name"], "from the library");
    assert_eq!(told["renewed"]["id"], told["created"]["id"]);
    assert_ne!(told["renewed"]["token"], told["created"]["token"]);
    assert_eq!(told["left"].as_array().unwrap().len(), 2);
    assert_eq!(told["refused"]["status"], 401);
    assert!(told["refused"]["data"]["error"].is_string());

    check_apps(&told["app"]);
}

#[test]
fn it_deploys_and_listens_to_the_end() {
    let it = Deploying::start(&[]);
    let source = it.server.create_and_upload(&archive(1_000, 1));
    let mut node = node("deploy.cjs");
    node.args([
        &it.server.url(""),
        it.server.api_token(),
        &source.download_url,
    ]);
    let mut client = Program::start(node);
    let reports = it.claim();
    it.append(&reports, 0, "one\ntwo\n");
    it.report(&reports, "starting");
    it.append(&reports, 8, "three\n");
    it.report(&reports, "success");
    assert_eq!(client.await_end(), Some(0), "{}", client.stderr());
    let told: Value = serde_json::from_str(&client.stdout()).unwrap();

    let id = &told["created"]["id"];
    assert_eq!(
        (&told["created"]["status"], &told["created"]["git_ref"]),
        (&json!("queued"), &json!("v1"))
    );
    assert_eq!(told["news"], json!([id]));
    assert_eq!(
        (&told["log"], &told["output"]),
        (&json!("one\ntwo\nthree\n"), &json!("one\ntwo\nthree\n"))
    );
    let statuses = told["statuses"].as_array().unwrap();
    assert_eq!(statuses.last(), Some(&json!("success")), "{statuses:?}");
    assert_eq!(
        (&told["found"]["id"], &told["found"]["status"]),
        (id, &json!("success"))
    );
    assert_eq!(told["listed"]["deployments"], json!([told["found"]]));
    assert_eq!(told["listed"]["meta"]["pagination"]["total_count"], 1);
    assert_eq!(
        (&told["app"]["status"], &told["app"]["last_deployment_id"]),
        (&json!("running"), id)
    );
    let event = &told["events"]["events"][0];
    assert_eq!(
        (&event["type"], &event["type_data"]["deployment_id"]),
        (&json!("deployment"), id)
    );
    assert_eq!(event["type_data"]["status"], "success");
}

/// The library's program of that name, to be told the rest of its arguments.
fn node(script: &str) -> Command {
    let mut node = without_settings(tools().join("bin/node").to_str().unwrap());
    node.arg(repository().join("tests/tools").join(script))
        .arg(tools().join("npm/node_modules"));
    node
}

fn check_apps(told: &Value) {
    assert_eq!(told["rehearsed"]["name"], "my-shop");
    let id = &told["created"]["id"];
    assert_eq!(told["found"], told["created"]);
    let taken = json!({ "errors": { "name": ["has already been taken"] } });
    assert_eq!(told["taken"], taken);
    assert_eq!(told["renamed"]["id"], *id);
    assert_eq!(told["all"].as_array().unwrap().len(), 1);
    assert_eq!(told["all"][0]["name"], "my-store");

    let pair = |variable: &Value| [variable["name"].clone(), variable["value"].clone()];
    let pairs = |list: &Value| {
        list.as_array()
            .unwrap()
            .iter()
            .map(pair)
            .collect::<Vec<_>>()
    };
    let [key, new, other] =
        [["KEY", "two"], ["NEW", "three"], ["OTHER", "four"]].map(|pair| pair.map(Value::from));
    assert_eq!(pair(&told["updated"]), key);
    assert_eq!(pairs(&told["bulk"]), [new.clone(), other.clone()]);
    assert_eq!(pairs(&told["variables"]), [key, new, other]);
    assert_eq!(told["left"], json!([]));

    let events = |list: &Value| {
        let events = list["events"].as_array().unwrap().iter();
        let types = events.map(|event| event["type"].as_str().unwrap().to_owned());
        types.collect::<Vec<_>>()
    };
    let newest = ["edit_variables", "delete_variable", "edit_variables"];
    assert_eq!(events(&told["events"]), newest);
    assert_eq!(told["events"]["meta"]["pagination"]["total_count"], 7);
    // Before the app came an API token that was made and deleted.
    let of_user = events(&told["of_user"]);
    assert_eq!((of_user[0].as_str(), of_user.len()), ("delete_app", 10));
    assert_eq!(told["gone"]["status"], 404);
    let sentence = |told: &Value| told["error"].as_str().unwrap().to_owned();
    assert!(sentence(&told["gone"]["data"]).starts_with("you have no app called "));
    assert!(sentence(&told["logs"]).contains("deployment-logs"));
}
