//! The resource `app`: the caller's applications.

mod own_app;
mod problems;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, HeaderName, StatusCode, Uri};

use super::answer::{private_headers, private_json};
use super::app::App;
use super::attributes::{blank, filled_text, rooted};
use super::caller::Authenticated;
use super::client::LinkBase;
use super::json_body::JsonObject;
use super::problem::Problem;
use super::query::only_value_of;
use super::regions::REGION;
use super::users::reference_of;
use crate::public_url::PublicUrl;
use crate::service::apps::App as Record;
use crate::service::events::{Event, EventKind};
use crate::wire::apps::{App as WireApp, AppAnswer, AppLinks, AppStatus, AppsAnswer};
use crate::wire::users::{Flags, UserReference};

pub(super) use own_app::{OwnApp, OwnAppUncounted};

const DRY_RUN: HeaderName = HeaderName::from_static("x-dry-run");

/// `GET /v1/apps`: the caller's.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    LinkBase(base): LinkBase,
) -> Result<Response, Problem> {
    let owner = reference_of(&app, caller.user).await?;
    let records = app.service.apps.list(caller.user).await?;
    let apps = records
        .into_iter()
        .map(|record| wire_app(record, owner.clone(), &base));
    let apps = apps.collect();
    Ok(private_json(StatusCode::OK, &AppsAnswer { apps }))
}

/// `POST /v1/apps`: one more; or only the checks, with `X-Dry-Run: true`.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    LinkBase(base): LinkBase,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Result<Response, Problem> {
    let name = filled_text(rooted(&body, "app"), "name")?;
    let (apps, now) = (&app.service.apps, app.service.clock.now());
    if is_dry_run(&headers) {
        let record = apps.rehearse(caller.user, name, now).await?;
        return answer(StatusCode::CREATED, &app, record, &base).await;
    }
    let record = apps.create(caller.user, name, now).await?;
    let kind = EventKind::NewApp { git_source: None };
    let event = Event::of_app(&record, kind, now);
    app.service.events.record(event).await;
    answer(StatusCode::CREATED, &app, record, &base).await
}

/// `GET /v1/apps/{app}`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    OwnApp(record): OwnApp,
    LinkBase(base): LinkBase,
) -> Result<Response, Problem> {
    answer(StatusCode::OK, &app, record, &base).await
}

/// `POST /v1/apps/{app}/rename`: the same application under another name.
pub(super) async fn rename(
    State(app): State<Arc<App>>,
    OwnApp(record): OwnApp,
    LinkBase(base): LinkBase,
    JsonObject(body): JsonObject,
) -> Result<Response, Problem> {
    let current_name = filled_text(&body, "current_name")?;
    let new_name = filled_text(&body, "new_name")?;
    let (apps, now) = (&app.service.apps, app.service.clock.now());
    let renamed = apps.rename(&record, current_name, new_name, now).await;
    let renamed = renamed.map_err(|error| problems::about("new_name", error))?;
    let kind = EventKind::RenameApp {
        old_name: current_name.to_owned(),
        new_name: new_name.to_owned(),
    };
    let event = Event::of_app(&renamed, kind, now);
    app.service.events.record(event).await;
    answer(StatusCode::OK, &app, renamed, &base).await
}

/// `DELETE /v1/apps/{app}?current_name=…`: with all that belongs to it.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    OwnApp(record): OwnApp,
    uri: Uri,
) -> Result<(StatusCode, HeaderMap), Problem> {
    let current_name = only_value_of(&uri, "current_name").filter(|name| !name.is_empty());
    let current_name = current_name.ok_or_else(|| blank("current_name"))?;
    record.check_current_name(&current_name)?;
    app.service.delete_app(&record).await?;
    let (kind, now) = (EventKind::DeleteApp {}, app.service.clock.now());
    let event = Event::of_app(&record, kind, now);
    app.service.events.record(event).await;
    Ok((StatusCode::NO_CONTENT, private_headers()))
}

fn is_dry_run(headers: &HeaderMap) -> bool {
    headers
        .get(DRY_RUN)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

async fn answer(
    status: StatusCode,
    app: &App,
    record: Record,
    base: &PublicUrl,
) -> Result<Response, Problem> {
    let owner = reference_of(app, record.owner).await?;
    let app = wire_app(record, owner, base);
    Ok(private_json(status, &AppAnswer { app }))
}

fn wire_app(record: Record, owner: UserReference, base: &PublicUrl) -> WireApp {
    let status = if record.is_running {
        AppStatus::Running
    } else {
        AppStatus::New
    };
    let deployments_stream = base.deployments_stream(&record.id);
    let last = record.last_deployment;
    WireApp {
        id: record.id.to_string(),
        name: record.name,
        region: REGION.to_owned(),
        owner,
        project: None,
        git_url: String::new(),
        url: String::new(),
        base_url: String::new(),
        status,
        last_deployed_at: last.as_ref().map(|last| last.ended_at),
        last_deployed_by: last.as_ref().map(|last| last.by.clone()),
        last_deployment_id: last.map(|last| last.id),
        created_at: record.created_at,
        updated_at: record.updated_at,
        links: AppLinks { deployments_stream },
        stack_id: None,
        sticky_session: false,
        force_https: false,
        router_logs: false,
        flags: Flags {},
        limits: Flags {},
    }
}
