//! The resource `variable`: what builds of an application are configured with.

mod problems;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::answer::{private_headers, private_json};
use super::app::App;
use super::apps::OwnApp;
use super::attributes::{filled_text, rooted, text};
use super::json_body::JsonObject;
use super::problem::Problem;
use crate::secret::Secret;
use crate::service::apps::App as AppRecord;
use crate::service::events::{Event, EventKind, VariableName};
use crate::service::variables::{Changes, Variable as Record, VariableError, VariableId};
use crate::wire::variables::{Variable, VariableAnswer, VariablesAnswer};

/// `GET /v1/apps/{app}/variables`: all, with their values. There are no aliases, so it does not matter whether they are
/// asked for.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    OwnApp(owner): OwnApp,
) -> Result<Response, Problem> {
    let variables = app.service.variables.list(owner.id).await?;
    Ok(variables_answer(variables))
}

/// `POST /v1/apps/{app}/variables`: one more.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    OwnApp(owner): OwnApp,
    JsonObject(body): JsonObject,
) -> Result<Response, Problem> {
    let (name, value) = name_and_value(rooted(&body, "variable"))?;
    let variables = &app.service.variables;
    let variable = variables.create(owner.id, &name, value).await?;
    record(&app, &owner, EventKind::NewVariable(VariableName { name })).await;
    Ok(variable_answer(StatusCode::CREATED, variable))
}

/// `PUT /v1/apps/{app}/variables`: each made or changed, the others stay.
pub(super) async fn set(
    State(app): State<Arc<App>>,
    OwnApp(owner): OwnApp,
    JsonObject(body): JsonObject,
) -> Result<Response, Problem> {
    let of = "objects with name and value";
    let wanted = list_in(&body, "variables", of)?.iter();
    let wanted = wanted.map(|item| match item.as_object() {
        Some(attributes) => name_and_value(attributes),
        None => Err(not_a_list("variables", of)),
    });
    let wanted = wanted.collect::<Result<_, _>>()?;
    let changes = app.service.variables.set(owner.id, wanted).await?;
    let Changes {
        variables,
        created,
        updated,
    } = changes;
    record(&app, &owner, edited(created, updated, Vec::new())).await;
    Ok(variables_answer(variables))
}

/// `DELETE /v1/apps/{app}/variables` with `{"variable_ids":[…]}`: these, if all of them are there.
pub(super) async fn delete_some(
    State(app): State<Arc<App>>,
    OwnApp(owner): OwnApp,
    JsonObject(body): JsonObject,
) -> Result<(StatusCode, HeaderMap), Problem> {
    let of = "ids of variables";
    let ids = list_in(&body, "variable_ids", of)?.iter();
    let ids = ids.map(|item| match item.as_str() {
        Some(id) => id.parse().map_err(|_| VariableError::Unknown.into()),
        None => Err(not_a_list("variable_ids", of)),
    });
    let ids: Vec<VariableId> = ids.collect::<Result<_, Problem>>()?;
    let deleted = app.service.variables.delete_some(owner.id, &ids).await?;
    record(&app, &owner, edited(Vec::new(), Vec::new(), deleted)).await;
    Ok((StatusCode::NO_CONTENT, private_headers()))
}

/// `PATCH /v1/apps/{app}/variables/{id}`: another value. The name is the variable's for good.
pub(super) async fn change(
    State(app): State<Arc<App>>,
    OwnApp(owner): OwnApp,
    id: Result<Path<(String, VariableId)>, PathRejection>,
    JsonObject(body): JsonObject,
) -> Result<Response, Problem> {
    let Path((_, id)) = id.map_err(|_| VariableError::Unknown)?;
    let value = Secret::new(text(rooted(&body, "variable"), "value")?.to_owned());
    let variables = &app.service.variables;
    let variable = variables.change(owner.id, id, value).await?;
    let name = variable.name.clone();
    record(&app, &owner, EventKind::EditVariable(VariableName { name })).await;
    Ok(variable_answer(StatusCode::OK, variable))
}

/// `DELETE /v1/apps/{app}/variables/{id}`.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    OwnApp(owner): OwnApp,
    id: Result<Path<(String, VariableId)>, PathRejection>,
) -> Result<(StatusCode, HeaderMap), Problem> {
    let Path((_, id)) = id.map_err(|_| VariableError::Unknown)?;
    let name = app.service.variables.delete(owner.id, id).await?;
    record(
        &app,
        &owner,
        EventKind::DeleteVariable(VariableName { name }),
    )
    .await;
    Ok((StatusCode::NO_CONTENT, private_headers()))
}

fn name_and_value(attributes: &Map<String, Value>) -> Result<(String, Secret), Problem> {
    let name = filled_text(attributes, "name")?.to_owned();
    let value = Secret::new(text(attributes, "value")?.to_owned());
    Ok((name, value))
}

fn list_in<'a>(body: &'a Map<String, Value>, name: &str, of: &str) -> Result<&'a [Value], Problem> {
    match body.get(name) {
        Some(Value::Array(items)) => Ok(items),
        _ => Err(not_a_list(name, of)),
    }
}

fn not_a_list(name: &str, of: &str) -> Problem {
    Problem::wrong_attribute(name, format!("must be a list of {of}"))
}

fn edited(created: Vec<String>, updated: Vec<String>, deleted: Vec<String>) -> EventKind {
    EventKind::EditVariables {
        new_vars: VariableName::each(created),
        updated_vars: VariableName::each(updated),
        deleted_vars: VariableName::each(deleted),
    }
}

async fn record(app: &App, owner: &AppRecord, kind: EventKind) {
    let event = Event::of_app(owner, kind, app.service.clock.now());
    app.service.events.record(event).await;
}

fn variable_answer(status: StatusCode, variable: Record) -> Response {
    let variable = wire_variable(variable);
    private_json(status, &VariableAnswer { variable })
}

fn variables_answer(variables: Vec<Record>) -> Response {
    let variables = variables.into_iter().map(wire_variable).collect();
    private_json(StatusCode::OK, &VariablesAnswer { variables })
}

fn wire_variable(variable: Record) -> Variable {
    Variable {
        id: variable.id.to_string(),
        name: variable.name,
        value: variable.value.reveal().to_owned(),
    }
}
