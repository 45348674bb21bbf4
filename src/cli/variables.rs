//! `waystation env list | set | unset`, of a server.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use http::Method;
use serde_json::{Value, json};

use super::archive::blocking;
use super::calls::{change, segment};
use super::error::CliError;
use super::print::print_json;
use super::screen::Screen;
use super::shown::{ShownVariable, VariableParts};
use crate::client::{Retry, Server};
use crate::config::OutputSettings;
use crate::wire::variables::{Variable, VariablesAnswer};

/// More than the server takes of all variables of an application.
const FILE_BYTES: u64 = 8 * 1024 * 1024;

fn path_of(app: &str) -> String {
    format!("/v1/apps/{}/variables", segment(app))
}

pub(super) async fn list(
    server: &Server,
    app: &str,
    parts: VariableParts,
    output: OutputSettings,
) -> Result<(), CliError> {
    let answer: VariablesAnswer = server.get(&path_of(app)).await?;
    if output.json && matches!(parts, VariableParts::NameAndValue) {
        return print_json(&answer);
    }
    let all = answer.variables.into_iter();
    let all: Vec<_> = all
        .map(|Variable { name, value, .. }| ShownVariable::of(name, &value, parts))
        .collect();
    ShownVariable::print_all(&all, output)
}

/// Variables given as `NAME=value`, by argument or line by line in a file.
pub(super) async fn read(given: &[String], file: Option<&Path>) -> Result<Vec<Value>, CliError> {
    let mut pairs = given.to_vec();
    if let Some(file) = file {
        let file = file.to_owned();
        let text = blocking(move || read_file(&file)).await?;
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        pairs.extend(lines.map(str::to_owned));
    }
    let mut variables = Vec::new();
    for pair in &pairs {
        let (name, value) = pair.split_once('=').ok_or(CliError::NoVariable)?;
        variables.push(json!({"name": name, "value": value}));
    }
    if variables.is_empty() {
        return Err(CliError::NoVariable);
    }
    Ok(variables)
}

pub(super) async fn set(
    server: &Server,
    app: &str,
    variables: Vec<Value>,
    output: OutputSettings,
) -> Result<(), CliError> {
    let count = variables.len();
    let body = json!({"variables": variables});
    let (path, method) = (path_of(app), Method::PUT);
    let answer: VariablesAnswer = change(server, method, &path, Some(body), Retry::Always).await?;
    Screen::new(output.quiet).note(&format!(
        "set {count} variables; the next deployment has them"
    ));
    if output.json {
        return print_json(&answer);
    }
    Ok(())
}

/// Unsets variables by their names. All have to be there.
pub(super) async fn unset(
    server: &Server,
    app: &str,
    names: &[String],
    output: OutputSettings,
) -> Result<(), CliError> {
    let answer: VariablesAnswer = server.get(&path_of(app)).await?;
    let mut ids = Vec::new();
    for name in names {
        let mut found = answer.variables.iter();
        let found = found.find(|variable| variable.name == *name);
        let variable = found.ok_or_else(|| CliError::NoSuchVariable { name: name.clone() })?;
        ids.push(&variable.id);
    }
    let body = json!({"variable_ids": ids});
    let (path, method) = (path_of(app), Method::DELETE);
    server
        .call(method, &path, Some(body), Retry::OnlyUnsent)
        .await?;
    Screen::new(output.quiet).note(&format!("unset {} variables", names.len()));
    if output.json {
        return print_json(&json!({"unset": names}));
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<String, CliError> {
    let failed = |source| CliError::Path {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        io::stdin()
            .lock()
            .take(FILE_BYTES)
            .read_to_string(&mut text)
    } else {
        let file = fs::File::open(path).map_err(failed)?;
        file.take(FILE_BYTES).read_to_string(&mut text)
    };
    read.map_err(failed)?;
    Ok(text)
}
