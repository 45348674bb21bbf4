//! The resource `event`: what the caller did, and its outcome.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::answer::private_json;
use super::app::App;
use super::apps::OwnApp;
use super::caller::Authenticated;
use super::page::{Page, PageQuery};
use super::problem::Problem;
use super::users::reference_of;
use crate::service::apps::AppId;
use crate::service::events::{Event as Record, EventKind as RecordKind};
use crate::service::users::UserId;
use crate::wire::events::{Event, EventKind, EventsAnswer};
use crate::wire::users::UserReference;

/// `GET /v1/events`: the caller's.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    query: PageQuery,
) -> Result<Response, Problem> {
    answer(&app, caller.user, None, &query).await
}

/// `GET /v1/apps/{app}/events`: those that are about an application.
pub(super) async fn list_of_app(
    State(app): State<Arc<App>>,
    OwnApp(record): OwnApp,
    query: PageQuery,
) -> Result<Response, Problem> {
    answer(&app, record.owner, Some(record.id), &query).await
}

async fn answer(
    app: &App,
    user: UserId,
    of: Option<AppId>,
    query: &PageQuery,
) -> Result<Response, Problem> {
    let events = &app.service.events;
    let page = Page::of(events.names(user, of).await?, query)?;
    let records = events.read(user, page.items).await?.into_iter();
    let user = reference_of(app, user).await?;
    let answer = EventsAnswer {
        events: records.map(|record| wire_event(record, &user)).collect(),
        meta: page.meta,
    };
    Ok(private_json(StatusCode::OK, &answer))
}

fn wire_event(record: Record, user: &UserReference) -> Event {
    let (app_id, app_name) = record.app.map(|app| (app.id.to_string(), app.name)).unzip();
    Event {
        id: record.id.to_string(),
        created_at: record.created_at,
        user: user.clone(),
        app_id,
        app_name,
        kind: wire_kind(&record.kind),
    }
}

/// As the record is tagged, so are answers.
fn wire_kind(kind: &RecordKind) -> EventKind {
    let tagged = serde_json::to_value(kind).expect("kinds are plain structs with text keys");
    serde_json::from_value(tagged).expect("a kind is tagged with its name and data")
}
