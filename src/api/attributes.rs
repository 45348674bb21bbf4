//! The attributes of a resource in a body: which they are, and whether they can be used.

use serde_json::{Map, Value};

use super::problem::Problem;

/// The platform's documentation roots them under the name of the resource; some of its clients do not.
pub(super) fn rooted<'a>(body: &'a Map<String, Value>, resource: &str) -> &'a Map<String, Value> {
    match body.get(resource) {
        Some(Value::Object(rooted)) => rooted,
        _ => body,
    }
}

/// A text that has to be there; it may be empty.
pub(super) fn text<'a>(attributes: &'a Map<String, Value>, name: &str) -> Result<&'a str, Problem> {
    match attributes.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Null) | None => Err(blank(name)),
        Some(_) => Err(Problem::wrong_attribute(name, "must be a string")),
    }
}

/// A text that has to be there, and not empty.
pub(super) fn filled_text<'a>(
    attributes: &'a Map<String, Value>,
    name: &str,
) -> Result<&'a str, Problem> {
    match text(attributes, name)? {
        "" => Err(blank(name)),
        text => Ok(text),
    }
}

pub(super) fn blank(name: &str) -> Problem {
    Problem::wrong_attribute(name, "can't be blank")
}
