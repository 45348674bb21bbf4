//! The description of the API (OpenAPI 3.1), put together from the pieces that stand beside the types of each resource.
//!
//! A piece is plain OpenAPI. What several operations have in common is said once, by `x-brings`: the answers that a kind of
//! caller, of link or of body brings to each operation that has it, and the headers that every response has.

use std::sync::LazyLock;

use serde_json::{Map, Value};

/// The first has what belongs to no resource.
const PIECES: [&str; 14] = [
    include_str!("openapi.json"),
    include_str!("problem.json"),
    include_str!("pagination.json"),
    // Before what it adds to.
    include_str!("uploads.json"),
    include_str!("sources.json"),
    include_str!("apps.json"),
    include_str!("variables.json"),
    include_str!("deployments.json"),
    include_str!("events.json"),
    include_str!("tokens.json"),
    include_str!("users.json"),
    include_str!("regions.json"),
    include_str!("runner.json"),
    include_str!("page.json"),
];
const BRINGS: &str = "x-brings";
/// The members of a path that are operations (OpenAPI 3.1, section 4.8.9).
pub const METHODS: [&str; 8] = [
    "get", "head", "post", "put", "patch", "delete", "options", "trace",
];

type Object = Map<String, Value>;

/// The whole description, except the URL of the server.
pub fn description() -> &'static Object {
    static DESCRIPTION: LazyLock<Object> = LazyLock::new(assemble);
    &DESCRIPTION
}

fn assemble() -> Object {
    let mut whole = Value::Object(Object::new());
    for piece in PIECES {
        merge(&mut whole, &piece_of(piece));
    }
    let pieces = whole.clone();
    for (_, path) in members(&mut whole["paths"]) {
        let shared = path["parameters"].clone();
        for (name, operation) in members(path) {
            if METHODS.contains(&name.as_str()) {
                complete(operation, &shared, &pieces);
            }
        }
    }
    for (_, response) in members(&mut whole["components"]["responses"]) {
        merge(response, &pieces[BRINGS]["response"]);
    }
    forget_brings(&mut whole);
    std::mem::take(whole.as_object_mut().expect("it began as an object"))
}

fn piece_of(text: &str) -> Value {
    serde_json::from_str(text).expect("each piece is JSON, or no test of the API passes")
}

/// Adds what `more` has, and what its members have; what is there stays.
fn merge(whole: &mut Value, more: &Value) {
    let (Value::Object(whole), Value::Object(more)) = (whole, more) else {
        return;
    };
    for (name, value) in more {
        match whole.get_mut(name) {
            Some(known) => merge(known, value),
            None => drop(whole.insert(name.clone(), value.clone())),
        }
    }
}

/// Gives an operation what is brought to it. What it says itself stays.
fn complete(operation: &mut Value, shared: &Value, pieces: &Value) {
    let common = &pieces[BRINGS];
    for brings in brought_to(operation, shared, pieces) {
        for (status, response) in brings["responses"].as_object().into_iter().flatten() {
            let responses = operation["responses"].as_object_mut();
            let responses = responses.expect("each operation has responses");
            responses.entry(status).or_insert_with(|| response.clone());
        }
    }
    for (status, response) in members(&mut operation["responses"]) {
        if response.get("$ref").is_none() {
            merge(response, &common["response"]);
            if status.starts_with('2') {
                merge(response, &common["success"]);
            }
        }
    }
}

/// What its callers, its links and its body bring to an operation.
fn brought_to<'a>(operation: &Value, shared: &Value, pieces: &'a Value) -> Vec<&'a Value> {
    let common = &pieces[BRINGS];
    let mut brought = vec![&common["operation"]];
    let schemes = &pieces["components"]["securitySchemes"];
    let callers = items(&operation["security"]).filter_map(Value::as_object);
    brought.extend(
        callers
            .flat_map(Object::keys)
            .map(|name| &schemes[name][BRINGS]),
    );
    let references = items(shared).chain(items(&operation["parameters"]));
    let references = references.filter_map(|parameter| parameter["$ref"].as_str());
    let pointers = references.map(|reference| reference.trim_start_matches('#'));
    let parameters = pointers.filter_map(|pointer| pieces.pointer(pointer));
    brought.extend(parameters.map(|parameter| &parameter[BRINGS]));
    if operation["requestBody"]["content"]["application/json"].is_object() {
        brought.push(&common["json"]);
    }
    brought
}

/// What was brought stands where it was brought to.
fn forget_brings(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove(BRINGS);
            members.values_mut().for_each(forget_brings);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_brings),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn members(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
