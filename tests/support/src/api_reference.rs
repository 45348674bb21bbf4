//! The reference for people, as Markdown, written from the description of the API.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::description::{Description, Operation};
use crate::schema::resolve;

const HEAD: &str = "# The API

Generated from the server's `/openapi.json`, and checked by tests, as are its curl lines. To regenerate it:
`WAYSTATION_WRITE_REFERENCE=1 cargo test --test api the_reference`.
";

/// The shell variables of the curl lines.
const VARIABLES: &str = "The curl lines use shell variables: `$SERVER`, the URL of the server; `$TOKEN`, an API token, and `$TOKEN_ID`, its id; `$APP`, an app, `$VARIABLE_ID`, one of its
variables, and `$DEPLOYMENT`, one of its deployments; `$UPLOAD_URL` and `$DOWNLOAD_URL`, the links of a source; `$LOCATION`, the URL of an upload in parts; `$RUNNER_TOKEN`, an
API token for runners; `$SOURCE_URL` and `$REPORT_URL`, the links of a claim.
";

/// All of it.
pub fn render(description: &Description) -> String {
    let whole = &description.0;
    let mut page = String::from(HEAD);
    let about = text(&whole["info"]["description"]);
    write!(page, "\n{about}\n\n{VARIABLES}").unwrap();
    for tag in whole["tags"].as_array().unwrap() {
        write!(
            page,
            "\n## {}\n\n{}\n",
            text(&tag["name"]),
            text(&tag["description"])
        )
        .unwrap();
        let operations = description.operations().into_iter();
        for operation in operations.filter(|it| it.is["tags"][0] == tag["name"]) {
            add_operation(&mut page, description, &operation);
        }
    }
    add_errors(&mut page, whole);
    add_types(&mut page, whole);
    page
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn add_operation(page: &mut String, description: &Description, operation: &Operation<'_>) {
    let (method, path) = (operation.method.to_uppercase(), operation.path);
    write!(
        page,
        "\n### {}\n\n`{method} {path}`",
        text(&operation.is["summary"])
    )
    .unwrap();
    let callers = operation.is["security"].as_array().into_iter().flatten();
    for caller in callers.filter_map(Value::as_object).flat_map(Map::keys) {
        let scheme = &description.0["components"]["securitySchemes"][caller];
        write!(page, " · {}", text(&scheme["description"])).unwrap();
    }
    page.push('\n');
    if let Some(about) = operation.is["description"].as_str() {
        write!(page, "\n{about}\n").unwrap();
    }
    if let Some(line) = operation.is["x-codeSamples"][0]["source"].as_str() {
        write!(page, "\n```sh\n{line}\n```\n").unwrap();
    }
    add_parameters(page, operation);
    add_body(page, &operation.is["requestBody"]);
    add_answers(page, description, operation);
}

fn add_parameters(page: &mut String, operation: &Operation<'_>) {
    if operation.parameters.is_empty() {
        return;
    }
    page.push_str("\n| parameter | in | |\n|---|---|---|\n");
    for parameter in &operation.parameters {
        let is_needed = parameter["required"] == true;
        let needed = if is_needed { "" } else { ", optional" };
        let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
        let about = text(&parameter["description"]);
        writeln!(page, "| `{name}` | {place}{needed} | {about} |").unwrap();
    }
}

fn add_body(page: &mut String, body: &Value) {
    if let Some(about) = body["description"].as_str() {
        write!(page, "\nBody: {about}\n").unwrap();
    }
    let content = &body["content"]["application/json"];
    if let Some(example) = content
        .get("example")
        .filter(|example| **example != Value::Object(Map::new()))
    {
        write!(
            page,
            "\nBody, {}for example `{example}`\n",
            type_note(&content["schema"])
        )
        .unwrap();
    }
}

/// A link to a type that has a name.
fn type_note(schema: &Value) -> String {
    match schema["$ref"].as_str() {
        Some(_) => format!("{}, ", type_of(schema)),
        None => String::new(),
    }
}

/// Those of its own, and a line of those that many have.
fn add_answers(page: &mut String, description: &Description, operation: &Operation<'_>) {
    page.push('\n');
    let mut shared = Vec::new();
    for status in operation.statuses() {
        let response = description.response(operation, status).unwrap();
        let reference = operation.is["responses"][status]["$ref"].as_str();
        match reference.filter(|_| status >= "400") {
            Some(reference) => {
                let name = reference.rsplit('/').next().unwrap();
                shared.push(format!("[{status}](#{})", name.to_lowercase()));
            }
            None => add_answer(page, status, response),
        }
    }
    if !shared.is_empty() {
        writeln!(page, "- Errors: {}", shared.join(", ")).unwrap();
    }
}

fn add_answer(page: &mut String, status: &str, response: &Value) {
    write!(page, "- **{status}** {}", text(&response["description"])).unwrap();
    let headers = response["headers"].as_object().into_iter().flatten();
    let names = headers.map(|(name, _)| name.as_str());
    let own = names.filter(|name| !EVERYWHERE.contains(name));
    let own: Vec<_> = own.map(|name| format!("`{name}`")).collect();
    if !own.is_empty() {
        write!(page, "; headers {}", own.join(", ")).unwrap();
    }
    page.push('\n');
    if let Some(example) = response["content"]["application/json"].get("example") {
        write!(page, "  ```json\n  {example}\n  ```\n").unwrap();
    }
}

/// Headers that the page describes once.
const EVERYWHERE: [&str; 4] = [
    "X-Request-Id",
    "Cache-Control",
    "RateLimit",
    "RateLimit-Policy",
];

fn add_errors(page: &mut String, whole: &Value) {
    page.push_str("\n## Errors\n\nThe body of every error is a `Problem`.\n");
    let responses = whole["components"]["responses"].as_object().unwrap();
    for (name, response) in responses {
        let example = &response["content"]["application/json"]["example"];
        if example.get("error").or(example.get("errors")).is_some() {
            write!(page, "\n### {name}\n\n").unwrap();
            write!(
                page,
                "{}\n\n```json\n{example}\n```\n",
                text(&response["description"])
            )
            .unwrap();
        }
    }
    page.push_str("\n## Headers of every answer\n\n| header | |\n|---|---|\n");
    for name in EVERYWHERE {
        let header = &whole["components"]["headers"][name];
        writeln!(page, "| `{name}` | {} |", text(&header["description"])).unwrap();
    }
}

fn add_types(page: &mut String, whole: &Value) {
    page.push_str("\n## Types\n");
    for (name, schema) in whole["components"]["schemas"].as_object().unwrap() {
        write!(page, "\n### {name}\n\n").unwrap();
        if let Some(about) = schema["description"].as_str() {
            write!(page, "{about}\n\n").unwrap();
        }
        let properties = schema["properties"].as_object();
        if properties.is_none_or(Map::is_empty) {
            writeln!(page, "{}", type_of(schema)).unwrap();
            continue;
        }
        page.push_str("| member | type | |\n|---|---|---|\n");
        for (member, of) in properties.into_iter().flatten() {
            let required = schema["required"].as_array();
            let is_required = required.is_some_and(|names| names.iter().any(|it| it == member));
            let optional = if is_required { "" } else { ", optional" };
            let about = of.get("description");
            let about = about.unwrap_or(&resolve(whole, of)["description"]);
            writeln!(
                page,
                "| `{member}` | {}{optional} | {} |",
                type_of(of),
                text(about)
            )
            .unwrap();
        }
    }
}

/// In words, as a table has room for them.
fn type_of(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    if let Some(word) = schema.get("const") {
        return format!("`{word}`");
    }
    let alternatives = schema["anyOf"].as_array().or(schema["oneOf"].as_array());
    if let Some(alternatives) = alternatives {
        let alternatives: Vec<_> = alternatives.iter().map(type_of).collect();
        return alternatives.join(" or ");
    }
    if let Some(types) = schema["type"].as_array() {
        let types: Vec<_> = types.iter().map(text).collect();
        return types.join(" or ");
    }
    match text(&schema["type"]) {
        "array" => format!("list of {}", type_of(&schema["items"])),
        "object" => members_of(schema),
        "" => "anything".to_owned(),
        kind => kind.to_owned(),
    }
}

fn members_of(schema: &Value) -> String {
    let members = schema["properties"].as_object().into_iter().flatten();
    let members = members.map(|(name, of)| format!("`{name}`: {}", type_of(of)));
    let members: Vec<_> = members.collect();
    if members.is_empty() {
        "object".to_owned()
    } else {
        format!("{{ {} }}", members.join(", "))
    }
}
