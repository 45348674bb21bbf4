//! The description of the API: that it is of this API, whole, and no more. What each call answers is held to it by
//! `TestApp`.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};
use waystation::wire;
use waystation_testing::api_reference::render;
use waystation_testing::description::described;
use waystation_testing::schema::{faults, resolve};

use crate::app::TestApp;

const INDEX: &str = include_str!("../../src/api.rs");

/// Calls, as `GET /v1/apps`.
fn described_calls() -> BTreeSet<String> {
    let operations = described().operations().into_iter();
    let calls = operations.map(|it| format!("{} {}", it.method.to_uppercase(), it.path));
    calls.collect()
}

/// Those in the table at the head of the index.
fn listed_calls() -> BTreeSet<String> {
    let rows = INDEX
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `"));
    let rows = rows.map(|row| row.split(" | ").next().unwrap());
    let calls = rows.flat_map(|cell| {
        let (methods, path) = cell.trim_end_matches('`').rsplit_once(' ').unwrap();
        let path = path.split('?').next().unwrap().to_owned();
        let methods = methods.split(", ").map(|method| method.replace('`', ""));
        methods.map(move |method| format!("{method} {path}"))
    });
    calls.collect()
}

/// The paths in the code of the index.
fn routed_paths() -> BTreeSet<String> {
    let code: String = INDEX.split_whitespace().collect();
    let routes = code.split(".route(\"").skip(1);
    routes
        .map(|route| route.split('"').next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_index_of_routes_and_the_description_have_the_same_calls() {
    assert_eq!(described_calls(), listed_calls());
    let paths = described().0["paths"].as_object().unwrap().keys();
    assert_eq!(paths.cloned().collect::<BTreeSet<_>>(), routed_paths());
}

/// The check of each answer compares `Allow` with what is described.
#[tokio::test]
async fn each_path_takes_the_methods_that_are_described_and_no_others() {
    let app = TestApp::new().await;
    for path in routed_paths() {
        let answer = app.call(Method::TRACE, &path, &[], "").await;
        answer.error(405, &["error"]);
    }
}

#[tokio::test]
async fn it_is_served_to_anybody_at_the_url_that_was_asked() {
    let app = TestApp::new().await;
    let headers = [("host", "deploy.example.com")];
    let answer = app.call(Method::GET, "/openapi.json", &headers, "").await;
    assert_eq!(answer.status, 200);
    let mut served = answer.json();
    let servers = served.as_object_mut().unwrap().remove("servers");
    assert_eq!(
        servers,
        Some(json!([{ "url": "http://deploy.example.com" }]))
    );
    assert_eq!(served, described().0);
}

/// All values with this name, wherever they are.
fn all_named<'a>(name: &str, value: &'a Value, found: &mut Vec<&'a Value>) {
    if let Some(value) = value.get(name) {
        found.push(value);
    }
    let members = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(_, value)| value);
    let items = value.as_array().into_iter().flatten();
    members
        .chain(items)
        .for_each(|value| all_named(name, value, found));
}

#[test]
fn references_lead_somewhere_and_what_is_shared_is_used() {
    let whole = &described().0;
    let mut references = Vec::new();
    all_named("$ref", whole, &mut references);
    let used: BTreeSet<_> = references.iter().filter_map(|it| it.as_str()).collect();
    for reference in &used {
        resolve(whole, &json!({ "$ref": reference }));
    }
    for (kind, components) in whole["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys() {
            // The description names those that only WebSocket or no operation uses.
            let is_named = ["Authentication", "Frame", "Problem"].contains(&name.as_str());
            let is_used = used.contains(format!("#/components/{kind}/{name}").as_str());
            let is_scheme = kind == "securitySchemes";
            assert!(
                is_named || is_used || is_scheme,
                "{kind}/{name} is not used"
            );
        }
    }
}

#[test]
fn operations_have_what_a_reader_needs() {
    let whole = &described().0;
    let tags = whole["tags"].as_array().unwrap().iter();
    let tags: Vec<_> = tags.map(|tag| &tag["name"]).collect();
    let mut ids = BTreeSet::new();
    for operation in described().operations() {
        assert!(ids.insert(operation.id()), "{}", operation.id());
        assert!(
            tags.contains(&&operation.is["tags"][0]),
            "{}",
            operation.id()
        );
        assert!(operation.is["summary"].is_string(), "{}", operation.id());
        let in_path = operation.path.split('{').skip(1);
        let in_path: BTreeSet<_> = in_path.map(|it| it.split('}').next().unwrap()).collect();
        let named = operation.parameters.iter().filter(|it| it["in"] == "path");
        let named: BTreeSet<_> = named.filter_map(|it| it["name"].as_str()).collect();
        assert_eq!(in_path, named, "{}", operation.id());
    }
}

/// Each media type of a content, with its example.
fn examples_in(content: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let types = content["content"].as_object().into_iter().flatten();
    types.filter_map(|(_, of)| Some((of.get("schema")?, of.get("example")?)))
}

#[test]
fn examples_are_as_their_schemas_say() {
    let whole = &described().0;
    let mut tried = 0;
    let mut check = |schema: &Value, example: &Value| {
        assert_eq!(faults(whole, schema, example), [""; 0], "{example}");
        tried += 1;
    };
    for operation in described().operations() {
        examples_in(&operation.is["requestBody"]).for_each(|(of, it)| check(of, it));
        for status in operation.statuses() {
            let response = described().response(&operation, status).unwrap();
            let has_json = response["content"]["application/json"].is_object();
            let has_example = examples_in(response).next().is_some();
            assert!(!has_json || has_example, "{} {status}", operation.id());
            examples_in(response).for_each(|(of, it)| check(of, it));
        }
        for parameter in operation.parameters {
            if let Some(example) = parameter.get("example") {
                check(&parameter["schema"], example);
            }
        }
    }
    for schema in whole["components"]["schemas"].as_object().unwrap().values() {
        let examples = schema["examples"].as_array().into_iter().flatten();
        examples.for_each(|example| check(schema, example));
    }
    assert!(tried > 100, "{tried}");
}

/// The example of what an operation answers when all goes well.
fn answer_of(id: &str) -> Value {
    let mut operations = described().operations().into_iter();
    let operation = operations.find(|it| it.id() == id).unwrap();
    let statuses = operation.statuses().into_iter();
    let success = statuses.filter(|status| status.starts_with('2')).min();
    let response = described().response(&operation, success.unwrap()).unwrap();
    response["content"]["application/json"]["example"].clone()
}

/// Reads an example as a type, and writes it again: so they have the same members.
fn same_as<T: serde::de::DeserializeOwned + serde::Serialize>(example: &Value) -> bool {
    let read: T = serde_json::from_value(example.clone()).unwrap();
    serde_json::to_value(read).unwrap() == *example
}

#[test]
fn answers_are_described_as_the_types_are_that_write_them() {
    for (id, is_same) in [
        (
            "createSource",
            same_as::<wire::sources::SourceAnswer> as fn(&Value) -> bool,
        ),
        ("upload", same_as::<wire::sources::UploadAnswer>),
        ("exchangeToken", same_as::<wire::tokens::BearerAnswer>),
        ("listTokens", same_as::<wire::tokens::TokensAnswer>),
        ("createToken", same_as::<wire::tokens::TokenAnswer>),
        ("renewToken", same_as::<wire::tokens::TokenAnswer>),
        ("showSelf", same_as::<wire::users::UserAnswer>),
        ("listRegions", same_as::<wire::regions::RegionsAnswer>),
        ("listApps", same_as::<wire::apps::AppsAnswer>),
        ("showApp", same_as::<wire::apps::AppAnswer>),
        ("listVariables", same_as::<wire::variables::VariablesAnswer>),
        ("createVariable", same_as::<wire::variables::VariableAnswer>),
        ("listEvents", same_as::<wire::events::EventsAnswer>),
        (
            "listDeployments",
            same_as::<wire::deployments::DeploymentsAnswer>,
        ),
        (
            "showDeployment",
            same_as::<wire::deployments::DeploymentAnswer>,
        ),
        ("claim", same_as::<wire::runner::ClaimAnswer>),
        ("appendLog", same_as::<wire::runner::LogAnswer>),
        ("reportStatus", same_as::<wire::runner::StatusAnswer>),
    ] {
        assert!(is_same(&answer_of(id)), "{id}");
    }
    let frames = &described().0["components"]["schemas"]["Frame"]["examples"];
    for frame in frames.as_array().unwrap() {
        assert!(same_as::<wire::deployments::Frame>(frame), "{frame}");
    }
}

/// The codes that the code has, those of the answers, and those that are listed.
#[test]
fn each_code_of_a_problem_is_listed_and_answered() {
    let whole = &described().0;
    let listed = whole["components"]["schemas"]["Problem"]["properties"]["code"].clone();
    let listed: BTreeSet<String> = serde_json::from_value(listed["enum"].clone()).unwrap();
    let mut described = Vec::new();
    for part in [&whole["paths"], &whole["components"]["responses"]] {
        all_named("code", part, &mut described);
    }
    let words = described.iter().flat_map(|code| {
        let one = code.get("const").into_iter();
        one.chain(code["enum"].as_array().into_iter().flatten())
    });
    let words: BTreeSet<_> = words
        .map(|word| word.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(words, listed);
    assert_eq!(codes_in_the_code(), listed);
}

fn codes_in_the_code() -> BTreeSet<String> {
    let api = waystation_testing::repository().join("src/api");
    let mut codes = BTreeSet::new();
    let mut folders = vec![api];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            let named = text.split(".with_code(\"").skip(1);
            codes.extend(named.map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    codes
}

/// With `WAYSTATION_WRITE_REFERENCE=1` it is written anew.
#[test]
fn the_reference_is_as_it_would_be_written_now() {
    let path = waystation_testing::repository().join("docs/api.md");
    let page = render(described());
    if std::env::var_os("WAYSTATION_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let is_same = std::fs::read_to_string(&path).is_ok_and(|written| written == page);
    assert!(
        is_same,
        "docs/api.md is of another description: write it anew with 'WAYSTATION_WRITE_REFERENCE=1 cargo test --test api the_reference'"
    );
}
