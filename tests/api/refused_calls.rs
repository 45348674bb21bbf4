//! What each call about applications, variables and deployments, and each report of a runner, refuses: with which status and
//! which words. After each of them the store is what it was, byte for byte.

use std::collections::BTreeMap;
use std::fs::{read, read_to_string, write};
use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Value, json};
use waystation::service::apps::MAX_APPS;
use waystation::service::deployments::{LOG_TAIL_BYTES, MAX_REASON_BYTES};
use waystation::service::variables::MAX_VARIABLES;

use crate::app::{Answer, NOW, TestApp};
use crate::deploying::{Claim, Deploying};

const NONE: &str = "000000000000000000000000";
const VARIABLES: &str = "/v1/apps/my-shop/variables";
const DEPLOYMENTS: &str = "/v1/apps/my-shop/deployments";
const TOO_MANY_VARIABLES: &str = "an app has at most 500 variables; delete some first";

/// A user with an application that has a variable, a deployment that runs, and one that waits; and another user's.
struct There {
    it: Deploying,
    claim: Claim,
    variable: String,
    bobs: [String; 2],
}

impl There {
    async fn new() -> Self {
        let it = Deploying::new().await;
        let bob = it.app.users.add("bob", "", NOW).await.unwrap().id;
        let apps = it.app.apps();
        let bobs = apps.create(bob, "bobs-shop", NOW).await.unwrap().id;
        let named = json!({ "variable": { "name": "KEY", "value": "1" } });
        let made = it.post("/v1/apps/my-shop/variables", &named).await.json();
        it.deploy("my-shop").await;
        it.deploy("my-shop").await;
        let claim = it.run().await;
        assert_eq!(it.append(&claim, 0, "one\n").await.status, 200);
        assert_eq!(it.report(&claim, "pushing").await.status, 200);
        let token = it.app.first_token().await.id;
        it.app.until_use_is_noted(token).await;
        Self {
            it,
            claim,
            variable: made["variable"]["id"].as_str().unwrap().to_owned(),
            bobs: ["bobs-shop".to_owned(), bobs.to_string()],
        }
    }

    /// Each of these bodies, with these words.
    async fn refuses(&self, method: Method, path: &str, status: u16, sent: &[(Value, &str)]) {
        for (body, says) in sent {
            let before = stored(&self.it.app);
            let answer = self.it.call(method.clone(), path, text_of(body)).await;
            let row = format!("{method} {path} {body}");
            assert_eq!(answer.status.as_u16(), status, "{row}: {answer:?}");
            let said = said_in(&answer);
            assert!(said.contains(says), "{row}: {said}");
            assert!(stored(&self.it.app) == before, "{row} changed something");
            // The platform's command line crashes at one, or hides the sentence.
            let is_of_app = path.starts_with("/v1/apps");
            assert!(!is_of_app || answer.json().get("resource").is_none());
        }
    }

    /// The same, where there is nothing to send.
    async fn refuses_plainly(&self, method: Method, path: &str, status: u16, says: &str) {
        self.refuses(method, path, status, &[(json!(""), says)])
            .await;
    }

    /// A variable, and one that is to be refused.
    fn with_another(variable: &Value) -> Value {
        json!({ "variables": [{ "name": "NEW", "value": "" }, variable] })
    }
}

/// A text is sent as it is.
fn text_of(body: &Value) -> String {
    body.as_str()
        .map_or_else(|| body.to_string(), str::to_owned)
}

/// The sentence of an error, or what is wrong with which attribute.
fn said_in(answer: &Answer) -> String {
    let said = answer.json();
    let errors = said.get("errors").unwrap_or(&said["error"]);
    errors.to_string()
}

/// As many as a user may have: most are copies of one, since to make each would take long.
async fn fill_with_apps(it: &Deploying) {
    let shown = it.get("/v1/apps/my-shop").await.json();
    let id = shown["app"]["id"].as_str().unwrap();
    let (start, end) = id.split_at(24);
    let files = it.app.files();
    let is_it = |path: &&PathBuf| path.to_str().unwrap().contains("/apps/") && holds(path, id);
    let path = files.iter().find(is_it).unwrap();
    let (name, content) = (path.to_str().unwrap(), read_to_string(path).unwrap());
    for number in 2..MAX_APPS {
        let other = format!("{number:012}");
        let copy = content.replace(id, &format!("{start}{other}"));
        write(name.replace(end, &other), copy).unwrap();
    }
    it.create_app("the-last").await;
}

fn holds(path: &Path, text: &str) -> bool {
    read_to_string(path).unwrap().contains(text)
}

/// All files of the store, but the locks, which are empty.
fn stored(app: &TestApp) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = app.files().into_iter();
    let files = files.filter(|path| path.extension().is_none_or(|end| end != "lock"));
    let contents = files.map(|path| (path.clone(), read(path).unwrap()));
    contents.collect()
}

#[tokio::test]
async fn an_app_is_not_made_or_renamed_by_a_wrong_name() {
    let there = There::new().await;
    let (all, rename) = ("/v1/apps", "/v1/apps/my-shop/rename");
    let to = |current: &str, new: &str| json!({ "current_name": current, "new_name": new });
    let named = |name: Value| json!({ "app": { "name": name } });
    let long = "a".repeat(49);
    for bad in [
        "short",
        "My-Shop",
        "my_shop",
        "-my-shop",
        "my-shop-",
        "my--shop",
        "my shop",
        "../../../etc",
        &long,
    ] {
        let says = "has 6 to 48 characters of a-z, 0-9 and '-'";
        let made = [(named(bad.into()), says)];
        there.refuses(Method::POST, all, 422, &made).await;
        let renamed = [(to("my-shop", bad), says)];
        there.refuses(Method::POST, rename, 422, &renamed).await;
    }
    let (blank, taken) = ("can't be blank", "has already been taken");
    let made = [
        (json!(""), blank),
        (json!({}), blank),
        (named(json!(null)), blank),
        (named(json!("")), blank),
        (named(json!(7)), "must be a string"),
        (named(json!("my-shop")), taken),
        (named(json!("bobs-shop")), taken),
    ];
    there.refuses(Method::POST, all, 422, &made).await;
    let none = [
        (json!("{"), "a problem in the JSON"),
        (json!([]), "it must be an object"),
    ];
    there.refuses(Method::POST, all, 400, &none).await;
    let other = "is not the name of this app, which is called my-shop";
    let new_blank = r#""new_name":["can't be blank"]"#;
    let renamed = [
        (json!(""), blank),
        (to("my-shop", ""), new_blank),
        (json!({ "current_name": "my-shop" }), new_blank),
        (json!({ "current_name": 7 }), "must be a string"),
        (to("my-shop", "bobs-shop"), taken),
        (to("my-stop", "my-store"), other),
    ];
    there.refuses(Method::POST, rename, 422, &renamed).await;
}

#[tokio::test]
async fn an_app_is_not_deleted_without_its_name() {
    let there = There::new().await;
    let blank = r#""current_name":["can't be blank"]"#;
    for (query, says) in [
        ("", blank),
        ("?current_name=", blank),
        ("?current_name=my-shop&current_name=my-shop", blank),
        ("?current_name=my-stop", "which is called my-shop"),
    ] {
        let path = format!("/v1/apps/my-shop{query}");
        there
            .refuses_plainly(Method::DELETE, &path, 422, says)
            .await;
    }
}

#[tokio::test]
async fn a_variable_has_a_name_and_a_value_that_a_process_can_have() {
    let there = There::new().await;
    let one = format!("{VARIABLES}/{}", there.variable);
    let long = "a".repeat(65);
    let reserved = "begins neither with a digit nor with WAYSTATION_";
    for (name, says) in [
        (json!(null), "can't be blank"),
        (json!(""), "can't be blank"),
        (json!(7), "must be a string"),
        (json!("9A"), reserved),
        (json!("A-B"), "1 to 64 letters, digits and '_'"),
        (json!("WAYSTATION_APP"), reserved),
        (json!(long), "1 to 64 letters, digits and '_'"),
    ] {
        let variable = json!({ "name": name, "value": "" });
        let with_another = [(There::with_another(&variable), says)];
        there
            .refuses(Method::PUT, VARIABLES, 422, &with_another)
            .await;
        let alone = [(json!({ "variable": variable }), says)];
        there.refuses(Method::POST, VARIABLES, 422, &alone).await;
    }
    for (value, says) in [
        (json!(null), "can't be blank"),
        (json!(7), "must be a string"),
        (json!("a\0b"), "has a NUL, which no environment can hold"),
        (
            json!("a".repeat(8_193)),
            "has 8193 bytes; 8192 is the limit",
        ),
    ] {
        let variable = json!({ "name": "KEY", "value": value });
        let with_another = [(There::with_another(&variable), says)];
        there
            .refuses(Method::PUT, VARIABLES, 422, &with_another)
            .await;
        let new = [(json!({ "name": "NEW", "value": value }), says)];
        there.refuses(Method::POST, VARIABLES, 422, &new).await;
        let alone = [(json!({ "variable": variable }), says)];
        there.refuses(Method::PATCH, &one, 422, &alone).await;
        there.refuses(Method::PUT, &one, 422, &alone).await;
    }
}

#[tokio::test]
async fn variables_are_set_all_or_none_and_only_those_that_are_there_change() {
    let there = There::new().await;
    let taken = "has already been taken; change that variable instead";
    let made = [
        (json!({ "name": "KEY", "value": "2" }), taken),
        (json!({}), r#""name":["can't be blank"]"#),
        (json!({ "name": "A" }), r#""value":["can't be blank"]"#),
    ];
    there.refuses(Method::POST, VARIABLES, 422, &made).await;
    let list = "must be a list of objects with name and value";
    let twice = json!([{ "name": "A", "value": "1" }, { "name": "A", "value": "2" }]);
    let set = [
        (json!(""), list),
        (json!({ "variables": {} }), list),
        (json!({ "variables": ["A=1"] }), list),
        (json!({ "variables": twice }), "has A twice"),
        (json!({ "variables": variables(0) }), TOO_MANY_VARIABLES),
    ];
    there.refuses(Method::PUT, VARIABLES, 422, &set).await;
    let unknown = "the app has no such variable";
    let changed = [(json!({ "value": "2" }), unknown)];
    for id in [NONE, "nonsense"] {
        let none = format!("{VARIABLES}/{id}");
        for method in [Method::PATCH, Method::PUT, Method::DELETE] {
            there.refuses(method, &none, 404, &changed).await;
        }
    }
    let list = "must be a list of ids of variables";
    let ids = |ids: Value| json!({ "variable_ids": ids });
    let deleted = [
        (json!(""), list),
        (ids(json!("x")), list),
        (ids(json!([1])), list),
    ];
    there
        .refuses(Method::DELETE, VARIABLES, 422, &deleted)
        .await;
    let deleted = [(ids(json!([there.variable, NONE])), unknown)];
    there
        .refuses(Method::DELETE, VARIABLES, 404, &deleted)
        .await;
}

/// From this number on, as many as an application may have, and no more.
fn variables(from: usize) -> Vec<Value> {
    let named = |number| json!({ "name": format!("A{number}"), "value": "" });
    (from..MAX_VARIABLES).map(named).collect()
}

#[tokio::test]
async fn one_more_than_an_app_or_a_user_may_have_is_refused() {
    let there = There::new().await;
    let others = json!({ "variables": variables(1) }).to_string();
    let set = there.it.call(Method::PUT, VARIABLES, others).await;
    assert_eq!(set.status, 200);
    let variable = [(json!({ "name": "B", "value": "" }), TOO_MANY_VARIABLES)];
    there.refuses(Method::POST, VARIABLES, 422, &variable).await;
    fill_with_apps(&there.it).await;
    let says = "you have 1000 apps, which is the limit; delete one first";
    let app = [(json!({ "name": "one-more" }), says)];
    there.refuses(Method::POST, "/v1/apps", 422, &app).await;
}

#[tokio::test]
async fn a_deployment_is_not_made_of_what_leads_to_no_archive_or_has_no_name_for_a_commit() {
    let there = There::new().await;
    let good = there.it.source().await;
    let deploy = |source_url: &str, git_ref: Value| json!({ "deployment": { "source_url": source_url, "git_ref": git_ref } });
    let long = format!("https://a.example/{}", "a".repeat(4096));
    let bad_ref = "has at most 255 bytes and no control characters";
    let (https, is_text) = ("must begin with https:// (or http://)", "must be a string");
    let refused = [
        (json!(""), r#""source_url":["can't be blank"]"#),
        (deploy(&long, json!(null)), "has at most 4096 bytes"),
        (deploy("file:///etc/passwd", json!(null)), https),
        (deploy(&good, json!(7)), is_text),
        (deploy(&good, json!("a\nb")), bad_ref),
        (deploy(&good, json!("a".repeat(256))), bad_ref),
    ];
    there
        .refuses(Method::POST, DEPLOYMENTS, 422, &refused)
        .await;
}

#[tokio::test]
async fn what_is_not_there_or_no_page_is_not_shown() {
    let there = There::new().await;
    let other = there.claim.id().replace(|c: char| c.is_ascii_digit(), "f");
    let unknown = "this app has no such deployment";
    for (method, path, status, says) in [
        (Method::GET, format!("{DEPLOYMENTS}/{other}"), 404, unknown),
        (
            Method::GET,
            format!("{DEPLOYMENTS}/{other}/output"),
            404,
            unknown,
        ),
        (
            Method::POST,
            format!("{DEPLOYMENTS}/{other}/cancel"),
            404,
            unknown,
        ),
        (
            Method::POST,
            format!("{DEPLOYMENTS}/1/cancel"),
            404,
            unknown,
        ),
        (
            Method::GET,
            format!("{DEPLOYMENTS}/stream"),
            426,
            "the request is not a handshake",
        ),
        (
            Method::GET,
            format!("{DEPLOYMENTS}?page=1&page=1"),
            422,
            "may be given once each",
        ),
        (
            Method::GET,
            "/v1/apps/my-shop/logs".to_owned(),
            404,
            "'deployment-logs' shows one",
        ),
        (
            Method::PUT,
            format!("/v1/tokens/{NONE}/renew"),
            404,
            "there is no such API token",
        ),
    ] {
        there.refuses_plainly(method, &path, status, says).await;
    }
}

#[tokio::test]
async fn each_call_about_an_app_refuses_one_that_is_anothers_or_not_there() {
    let there = There::new().await;
    let variable = format!("/variables/{}", there.variable);
    let deployment = format!("/deployments/{}", there.claim.id());
    for app in [&there.bobs[0], &there.bobs[1], "no-such-shop"] {
        let says = format!("you have no app called {app}");
        for (method, end) in [
            (Method::GET, ""),
            (Method::DELETE, "?current_name=bobs-shop"),
            (Method::POST, "/rename"),
            (Method::GET, "/variables"),
            (Method::POST, "/variables"),
            (Method::PUT, "/variables"),
            (Method::DELETE, "/variables"),
            (Method::PATCH, &variable),
            (Method::PUT, &variable),
            (Method::DELETE, &variable),
            (Method::POST, "/deployments"),
            (Method::GET, "/deployments"),
            (Method::GET, &deployment),
            (Method::GET, &format!("{deployment}/output")),
            (Method::POST, &format!("{deployment}/cancel")),
            (Method::DELETE, "/caches/deployment"),
            (Method::GET, "/events"),
        ] {
            let path = format!("/v1/apps/{app}{end}");
            there.refuses_plainly(method, &path, 404, &says).await;
        }
    }
    let listed = there.it.get("/v1/apps").await.json();
    assert_eq!(listed["apps"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_piece_of_a_log_that_does_not_follow_is_refused() {
    let there = There::new().await;
    let reports = there.claim.report_path();
    let most = 16 * 1024 * 1024 + LOG_TAIL_BYTES;
    let goes_on = "the log has 4 bytes: continue from there";
    for (log, status, says) in [
        (
            format!("{reports}/log"),
            422,
            "must be given once in the query",
        ),
        (format!("{reports}/log?offset=3"), 409, goes_on),
        (format!("{reports}/log?offset=0"), 409, goes_on),
        (
            format!("{reports}/log?offset={most}"),
            413,
            "the deployment continues without more",
        ),
        (format!("{reports}0/log?offset=4"), 403, "valid"),
    ] {
        let piece = [(json!("other"), says)];
        there.refuses(Method::PUT, &log, status, &piece).await;
    }
}

#[tokio::test]
async fn a_state_that_is_none_or_goes_back_is_refused() {
    let there = There::new().await;
    let reports = there.claim.report_path();
    let status = format!("{reports}/status");
    let long = "a".repeat(MAX_REASON_BYTES + 1);
    let none = "must be one of building, pushing, starting, success";
    let refused = [
        (json!(""), none),
        (json!({ "status": "queued" }), none),
        (
            json!({ "status": "success", "reason": 7 }),
            "must be a string",
        ),
        (
            json!({ "status": "success", "reason": long }),
            "has at most 4096 bytes",
        ),
    ];
    there.refuses(Method::PUT, &status, 422, &refused).await;
    let says = "is already 'pushing', and cannot go back to 'building'";
    let back = [(json!({ "status": "building" }), says)];
    there.refuses(Method::PUT, &status, 409, &back).await;
    let end = [(json!({ "status": "success" }), "valid")];
    let other = format!("{reports}0/status");
    there.refuses(Method::PUT, &other, 403, &end).await;
    let claims = "/v1/runner/claims";
    there
        .refuses_plainly(Method::POST, claims, 403, "--runner")
        .await;
}

#[tokio::test]
async fn what_a_runner_says_after_the_end_is_refused() {
    let there = There::new().await;
    let reports = there.claim.report_path();
    assert_eq!(there.it.report(&there.claim, "success").await.status, 200);
    let says = "this deployment has ended, or another runner has it";
    let late = ["build-error", "starting"].map(|status| (json!({ "status": status }), says));
    let status = format!("{reports}/status");
    there.refuses(Method::PUT, &status, 410, &late).await;
    let log = format!("{reports}/log?offset=4");
    there
        .refuses(Method::PUT, &log, 410, &[(json!("x"), says)])
        .await;
    let archive = there.claim.path("source_url");
    there
        .refuses_plainly(Method::GET, &archive, 410, says)
        .await;
}
