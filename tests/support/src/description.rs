//! The description of the API, to which every answer is held: nothing may come that it does not say. What came is noted in
//! `target/described`, so that what never comes can be found.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

use serde_json::Value;
use waystation::wire::openapi::{METHODS, description};

use crate::reply::Reply;
use crate::repository;
use crate::schema::{faults, resolve};

/// Headers about the message, which are any HTTP server's.
const FRAMING: [&str; 5] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "transfer-encoding",
];

/// An OpenAPI document.
pub struct Description(pub Value);

/// That of the API, which is all the same on every server, but for its URL.
pub fn described() -> &'static Description {
    static DESCRIBED: LazyLock<Description> =
        LazyLock::new(|| Description(Value::Object(description().clone())));
    &DESCRIBED
}

/// Holds an answer of a running server to the description, if it is the API's: the HTTP library's own, and those of object
/// stores, have no id.
pub fn check_reply(method: &str, target: &str, reply: &Reply) {
    if reply.header("x-request-id").is_none() {
        return;
    }
    let headers = reply.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_str()));
    described().check(&Exchange {
        method,
        target,
        status: reply.status,
        headers: headers.collect(),
        body: Some(&reply.body),
    });
}

/// What can be done at a path.
#[derive(Clone)]
pub struct Operation<'a> {
    pub method: &'static str,
    pub path: &'a str,
    pub is: &'a Value,
    /// Its own, and those of the path.
    pub parameters: Vec<&'a Value>,
}

/// A request, and what it was answered with.
pub struct Exchange<'a> {
    pub method: &'a str,
    /// With its query.
    pub target: &'a str,
    pub status: u16,
    pub headers: Vec<(&'a str, &'a str)>,
    /// None if it was not read.
    pub body: Option<&'a [u8]>,
}

impl Exchange<'_> {
    fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter();
        let found = found.find(|(of, _)| of.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    }
}

impl<'a> Operation<'a> {
    pub fn id(&self) -> &'a str {
        self.is["operationId"].as_str().unwrap()
    }

    pub fn statuses(&self) -> BTreeSet<&'a str> {
        let responses = self.is["responses"].as_object().unwrap();
        responses.keys().map(String::as_str).collect()
    }
}

impl Description {
    pub fn operations(&self) -> Vec<Operation<'_>> {
        let paths = self.0["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, item)| {
            let methods = METHODS.into_iter();
            methods.filter_map(move |method| {
                let is = item.get(method)?;
                let lists = [&item["parameters"], &is["parameters"]].into_iter();
                let parameters = lists.filter_map(Value::as_array).flatten();
                let parameters = parameters.map(|parameter| resolve(&self.0, parameter));
                Some(Operation {
                    method,
                    path,
                    is,
                    parameters: parameters.collect(),
                })
            })
        });
        operations.collect()
    }

    /// What an operation answers with a status.
    pub fn response<'a>(&'a self, operation: &Operation<'a>, status: &str) -> Option<&'a Value> {
        let response = operation.is["responses"].get(status)?;
        Some(resolve(&self.0, response))
    }

    /// The template of a path; a segment that is spelled out goes before one that is not.
    fn template(&self, path: &str) -> Option<&str> {
        let paths = self.0["paths"].as_object().unwrap().keys();
        let fitting = paths.filter(|template| fits(template, path));
        let fitting = fitting.min_by_key(|template| template.matches('{').count());
        fitting.map(String::as_str)
    }

    /// Fails the test if that was not to be answered.
    pub fn check(&self, exchange: &Exchange<'_>) {
        let template = self.template(exchange.path());
        let operations = self.operations();
        let mut there = operations
            .iter()
            .filter(|operation| Some(operation.path) == template);
        let wanted = exchange.method.to_ascii_lowercase();
        let is_it = |operation: &&Operation<'_>| operation.method == wanted;
        let found = there.clone().find(is_it);
        // Each GET may also be asked as HEAD.
        let as_get = || there.find(|operation| wanted == "head" && operation.method == "get");
        let Some(operation) = found.or_else(as_get) else {
            self.check_undescribed(exchange, template);
            return;
        };
        let Some(response) = self.response(operation, &exchange.status.to_string()) else {
            panic!(
                "{} is not described for {}",
                exchange.status,
                operation.id()
            );
        };
        let faults = self.faults_of(response, exchange);
        let (id, status) = (operation.id(), exchange.status);
        assert!(
            faults.is_empty(),
            "{id}, {status}: {faults:#?} in {:?}",
            exchange.headers
        );
        note(&format!("{id} {status}"));
    }

    fn faults_of(&self, response: &Value, exchange: &Exchange<'_>) -> Vec<String> {
        let mut found = Vec::new();
        let described = response["headers"].as_object();
        for (name, header) in described.into_iter().flatten() {
            let header = resolve(&self.0, header);
            match exchange.header(name) {
                Some(value) => {
                    let value = Value::from(value);
                    let wrong = faults(&self.0, &header["schema"], &value);
                    found.extend(wrong.iter().map(|fault| format!("{name}: {fault}")));
                }
                None if header["required"] == true => found.push(format!("there is no {name}")),
                None => {}
            }
        }
        let is_described = |name: &str| {
            let mut names = described.into_iter().flatten().map(|(name, _)| name);
            FRAMING.contains(&name) || names.any(|of| of.eq_ignore_ascii_case(name))
        };
        let others = exchange.headers.iter().map(|(name, _)| *name);
        let others = others.filter(|name| !is_described(name));
        found.extend(others.map(|name| format!("{name} is not described")));
        if exchange.method != "HEAD" {
            found.extend(self.faults_of_body(response, exchange));
        }
        found
    }

    fn faults_of_body(&self, response: &Value, exchange: &Exchange<'_>) -> Vec<String> {
        let Some(body) = exchange.body else {
            return Vec::new();
        };
        let Some(content) = response["content"].as_object() else {
            return if body.is_empty() {
                Vec::new()
            } else {
                vec!["it has a body".to_owned()]
            };
        };
        let media_type = exchange.header("content-type").unwrap_or_default();
        let Some(described) = content.get(media_type) else {
            return vec![format!("the type {media_type:?} is not described")];
        };
        let Some(schema) = described.get("schema") else {
            return Vec::new();
        };
        let value = if media_type.ends_with("json") {
            serde_json::from_slice(body).unwrap()
        } else {
            Value::from(String::from_utf8_lossy(body))
        };
        faults(&self.0, schema, &value)
    }

    /// At a path that is not there, or by a method that a path does not take.
    fn check_undescribed(&self, exchange: &Exchange<'_>, template: Option<&str>) {
        let status = exchange.status;
        assert!(
            [400, 404, 405].contains(&status),
            "{} {} is not described: {status}",
            exchange.method,
            exchange.target
        );
        if status == 405 {
            let allowed = exchange.header("allow").unwrap_or_default();
            let allowed: BTreeSet<_> = allowed.split(',').map(str::to_ascii_lowercase).collect();
            assert_eq!(allowed, self.methods_at(template.unwrap()), "{template:?}");
        }
        let schema = &self.0["components"]["schemas"]["Problem"];
        if let Some(body) = exchange.body.filter(|_| exchange.method != "HEAD") {
            let body = serde_json::from_slice(body).unwrap();
            assert_eq!(faults(&self.0, schema, &body), [""; 0]);
            assert!(body["resource"].is_null(), "{body}");
        }
    }

    /// Those that a path takes: each GET may also be asked as HEAD.
    fn methods_at(&self, path: &str) -> BTreeSet<String> {
        let operations = self.operations().into_iter();
        let there = operations.filter(|operation| operation.path == path);
        let mut methods: BTreeSet<_> = there.map(|there| there.method.to_owned()).collect();
        if methods.contains("get") {
            methods.insert("head".to_owned());
        }
        methods
    }
}

fn fits(template: &str, path: &str) -> bool {
    let mut pairs = template.split('/').zip(path.split('/'));
    let is_parameter = |segment: &str| segment.starts_with('{');
    template.matches('/').count() == path.matches('/').count()
        && pairs
            .all(|(wanted, found)| wanted == found || (is_parameter(wanted) && !found.is_empty()))
}

/// Where it is noted what was answered.
pub fn notes() -> PathBuf {
    repository().join("target/described")
}

/// An empty file for each answer of each operation.
fn note(name: &str) {
    static NOTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let is_new = NOTED.lock().unwrap().insert(name.to_owned());
    if is_new {
        fs::create_dir_all(notes()).unwrap();
        fs::write(notes().join(name), "").unwrap();
    }
}
