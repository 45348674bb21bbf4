//! JSON Schema as far as the description of the API uses it. A keyword that is not known here is an error, so none is
//! passed over.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use regex::Regex;
use serde_json::{Map, Value};

/// Those that demand nothing.
const NOTES: [&str; 6] = [
    "default",
    "description",
    "example",
    "examples",
    "title",
    "summary",
];

/// What an instance has that a schema of this description does not allow.
pub fn faults(description: &Value, schema: &Value, instance: &Value) -> Vec<String> {
    let mut check = Check {
        description,
        faults: Vec::new(),
    };
    check.instance(schema, instance, "$");
    check.faults
}

/// What a reference stands for; anything else stands for itself.
pub fn resolve<'a>(description: &'a Value, value: &'a Value) -> &'a Value {
    let Some(reference) = value["$ref"].as_str() else {
        return value;
    };
    let pointer = reference.trim_start_matches('#');
    let found = description.pointer(pointer);
    found.unwrap_or_else(|| panic!("nothing is at {reference}"))
}

struct Check<'a> {
    description: &'a Value,
    faults: Vec<String>,
}

impl Check<'_> {
    fn fault(&mut self, at: &str, text: &str) {
        self.faults.push(format!("{at} {text}"));
    }

    /// A value, all of whose members have to be described.
    fn instance(&mut self, schema: &Value, instance: &Value, at: &str) {
        self.keywords(schema, instance, at);
        let Some(members) = instance.as_object() else {
            return;
        };
        let mut described = Described::default();
        self.describe(schema, &mut described);
        if described.is_open {
            return;
        }
        for name in members.keys() {
            if !described.names.contains(name) {
                self.fault(at, &format!("has {name}, which is not described"));
            }
        }
    }

    /// The members that a schema, and those that it refers to, describe.
    fn describe(&self, schema: &Value, described: &mut Described) {
        let properties = schema["properties"].as_object();
        let names = properties.into_iter().flat_map(Map::keys).cloned();
        described.names.extend(names);
        described.is_open |= schema.get("additionalProperties").is_some();
        if schema.get("$ref").is_some() {
            self.describe(resolve(self.description, schema), described);
        }
        for alternatives in [&schema["oneOf"], &schema["anyOf"]] {
            for alternative in alternatives.as_array().into_iter().flatten() {
                self.describe(alternative, described);
            }
        }
    }

    fn keywords(&mut self, schema: &Value, instance: &Value, at: &str) {
        let Some(keywords) = schema.as_object() else {
            panic!("{at} has a schema that is no object: {schema}");
        };
        for (keyword, wanted) in keywords {
            match keyword.as_str() {
                "$ref" => self.keywords(resolve(self.description, schema), instance, at),
                "properties" => self.properties(wanted, instance, at),
                "additionalProperties" => self.others(schema, wanted, instance, at),
                "items" => self.items(wanted, instance, at),
                "required" => self.required(wanted, instance, at),
                "oneOf" | "anyOf" => self.alternatives(keyword, wanted, instance, at),
                note if NOTES.contains(&note) => {}
                _ if is_allowed(keyword, wanted, instance) => {}
                _ => self.fault(at, &format!("is {instance}, and has {keyword}: {wanted}")),
            }
        }
    }

    fn properties(&mut self, properties: &Value, instance: &Value, at: &str) {
        for (name, schema) in properties.as_object().into_iter().flatten() {
            if let Some(value) = instance.get(name) {
                self.instance(schema, value, &format!("{at}.{name}"));
            }
        }
    }

    /// Members that are not described by name.
    fn others(&mut self, schema: &Value, wanted: &Value, instance: &Value, at: &str) {
        if wanted.is_boolean() {
            return;
        }
        for (name, value) in instance.as_object().into_iter().flatten() {
            if schema["properties"].get(name).is_none() {
                self.instance(wanted, value, &format!("{at}.{name}"));
            }
        }
    }

    fn items(&mut self, schema: &Value, instance: &Value, at: &str) {
        for (index, item) in instance.as_array().into_iter().flatten().enumerate() {
            self.instance(schema, item, &format!("{at}[{index}]"));
        }
    }

    fn required(&mut self, names: &Value, instance: &Value, at: &str) {
        let names = names.as_array().into_iter().flatten();
        let names = names.filter_map(Value::as_str);
        for name in names.filter(|_| instance.is_object()) {
            if instance.get(name).is_none() {
                self.fault(at, &format!("has no {name}"));
            }
        }
    }

    fn alternatives(&mut self, keyword: &str, schemas: &Value, instance: &Value, at: &str) {
        let tried = schemas.as_array().into_iter().flatten().map(|schema| {
            let mut tried = Check {
                description: self.description,
                faults: Vec::new(),
            };
            tried.keywords(schema, instance, at);
            tried.faults
        });
        let tried: Vec<_> = tried.collect();
        let fitting = tried.iter().filter(|faults| faults.is_empty()).count();
        if fitting == 0 || (keyword == "oneOf" && fitting > 1) {
            let why = tried.concat().join("; ");
            self.fault(at, &format!("fits {fitting} of the alternatives: {why}"));
        }
    }
}

#[derive(Default)]
struct Described {
    names: BTreeSet<String>,
    is_open: bool,
}

/// A keyword that looks at one value alone. It says nothing about values of another type.
fn is_allowed(keyword: &str, wanted: &Value, instance: &Value) -> bool {
    let chars = instance.as_str().map(|text| text.chars().count() as u64);
    let items = instance.as_array().map(|items| items.len() as u64);
    let limit = || wanted.as_u64().unwrap();
    match keyword {
        "type" => is_of_type(wanted, instance),
        "const" => wanted == instance,
        "enum" => wanted.as_array().unwrap().contains(instance),
        "minLength" => chars.is_none_or(|chars| chars >= limit()),
        "maxLength" => chars.is_none_or(|chars| chars <= limit()),
        "minItems" => items.is_none_or(|items| items >= limit()),
        "maxItems" => items.is_none_or(|items| items <= limit()),
        "minimum" => !instance.is_number() || instance.as_i64() >= wanted.as_i64(),
        "maximum" => !instance.is_number() || instance.as_i64() <= wanted.as_i64(),
        "pattern" => instance.as_str().is_none_or(|text| matches(wanted, text)),
        "format" => instance
            .as_str()
            .is_none_or(|text| has_format(wanted, text)),
        _ => panic!("the keyword {keyword} is not known here"),
    }
}

fn is_of_type(wanted: &Value, instance: &Value) -> bool {
    if let Some(types) = wanted.as_array() {
        return types.iter().any(|wanted| is_of_type(wanted, instance));
    }
    match wanted.as_str().unwrap() {
        "object" => instance.is_object(),
        "array" => instance.is_array(),
        "string" => instance.is_string(),
        "boolean" => instance.is_boolean(),
        "integer" => instance.is_i64() || instance.is_u64(),
        "null" => instance.is_null(),
        other => panic!("the type {other} is not known here"),
    }
}

fn matches(pattern: &Value, text: &str) -> bool {
    thread_local! {
        static KNOWN: RefCell<HashMap<String, Regex>> = RefCell::default();
    }
    let pattern = pattern.as_str().unwrap();
    KNOWN.with_borrow_mut(|known| {
        let compile = || Regex::new(pattern).unwrap();
        let regex = known.entry(pattern.to_owned()).or_insert_with(compile);
        regex.is_match(text)
    })
}

fn has_format(format: &Value, text: &str) -> bool {
    match format.as_str().unwrap() {
        "date-time" => text.parse::<Timestamp>().is_ok(),
        "uuid" => {
            let groups: Vec<_> = text.split('-').map(str::len).collect();
            let is_hex = |c: char| c == '-' || c.is_ascii_digit() || ('a'..='f').contains(&c);
            groups == [8, 4, 4, 4, 12] && text.chars().all(is_hex)
        }
        "uri" => text.contains("://") && !text.contains(' '),
        other => panic!("the format {other} is not known here"),
    }
}
