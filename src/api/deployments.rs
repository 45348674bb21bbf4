//! The resource `deployment`: those of one of the caller's applications.

mod log;
mod problems;
mod stream;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::answer::{private_headers, private_json};
use super::app::App;
use super::apps::{OwnApp, OwnAppUncounted};
use super::attributes::{filled_text, rooted};
use super::client::{KnownBases, LinkBase};
use super::json_body::JsonObject;
use super::page::{Page, PageQuery};
use super::problem::Problem;
use super::users::reference_of;
use crate::clock::Timestamp;
use crate::public_url::PublicUrl;
use crate::secret::Secret;
use crate::service::apps::{App as AppRecord, AppId};
use crate::service::deployments::{Deployment, DeploymentRequest, SourceRecord};
use crate::service::users::UserId;
use crate::wire::deployments::{
    Deployment as WireDeployment, DeploymentAnswer, DeploymentKind, DeploymentLinks,
    DeploymentSource, DeploymentsAnswer,
};
use crate::wire::users::UserReference;

pub(super) use log::show_log;
pub(super) use stream::stream;

/// `POST /v1/apps/{app}/deployments`: accepted into the queue.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    OwnApp(record): OwnApp,
    LinkBase(base): LinkBase,
    KnownBases(bases): KnownBases,
    JsonObject(body): JsonObject,
) -> Result<Response, Problem> {
    let attributes = rooted(&body, "deployment");
    let request = DeploymentRequest {
        app: *record.id.as_bytes(),
        pusher: record.owner,
        source_url: Secret::new(filled_text(attributes, "source_url")?.to_owned()),
        git_ref: git_ref_in(attributes)?,
    };
    let deployment = app.service.deployments.accept(request, &bases).await?;
    answer(StatusCode::CREATED, &app, &deployment, &base).await
}

/// `GET /v1/apps/{app}/deployments`: the newest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    OwnApp(record): OwnApp,
    LinkBase(base): LinkBase,
    query: PageQuery,
) -> Result<Response, Problem> {
    let deployments = &app.service.deployments;
    let id = *record.id.as_bytes();
    let page = Page::of(deployments.list_of(id).await?, &query)?;
    let found = deployments.get_all(id, &page.items).await?;
    let pushers = pushers_of(&app, &found).await?;
    let now = app.service.clock.now();
    let listed = found.iter().filter_map(|found| {
        let pusher = pushers.get(&found.record.pusher)?.clone();
        Some(wire_deployment(found, pusher, &base, now))
    });
    let answer = DeploymentsAnswer {
        deployments: listed.collect(),
        meta: page.meta,
    };
    Ok(private_json(StatusCode::OK, &answer))
}

/// `GET /v1/apps/{app}/deployments/{deployment}`. The rate limit does not count it: the platform's command line crashes
/// where it fails.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    OwnAppUncounted(record): OwnAppUncounted,
    LinkBase(base): LinkBase,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let deployment = find(&app, &record, &id).await?;
    answer(StatusCode::OK, &app, &deployment, &base).await
}

/// `POST /v1/apps/{app}/deployments/{deployment}/cancel`: ended at once if it waits, else its runner is asked to stop.
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    OwnApp(record): OwnApp,
    LinkBase(base): LinkBase,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let deployment = find(&app, &record, &id).await?;
    let cancelled = app.service.deployments.cancel(&deployment).await?;
    answer(StatusCode::ACCEPTED, &app, &cancelled, &base).await
}

/// `DELETE /v1/apps/{app}/caches/deployment`: there is no cache that could be deleted.
pub(super) async fn delete_cache(_app: OwnApp) -> (StatusCode, HeaderMap) {
    (StatusCode::NO_CONTENT, private_headers())
}

async fn find(app: &App, record: &AppRecord, id: &str) -> Result<Deployment, Problem> {
    let found = app.service.deployments.find(*record.id.as_bytes(), id);
    Ok(found.await?)
}

/// May be null, or not there.
fn git_ref_in(attributes: &Map<String, Value>) -> Result<Option<String>, Problem> {
    match attributes.get("git_ref") {
        Some(Value::Null) | None => Ok(None),
        Some(Value::String(git_ref)) => Ok(Some(git_ref.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(Problem::wrong_attribute("git_ref", "must be a string")),
    }
}

async fn pushers_of(
    app: &App,
    deployments: &[Deployment],
) -> Result<HashMap<UserId, UserReference>, Problem> {
    let mut pushers = HashMap::new();
    for deployment in deployments {
        if let Entry::Vacant(unknown) = pushers.entry(deployment.record.pusher) {
            let pusher = reference_of(app, *unknown.key()).await?;
            unknown.insert(pusher);
        }
    }
    Ok(pushers)
}

async fn answer(
    status: StatusCode,
    app: &App,
    deployment: &Deployment,
    base: &PublicUrl,
) -> Result<Response, Problem> {
    let deployment = described(app, deployment, base).await?;
    Ok(private_json(status, &DeploymentAnswer { deployment }))
}

/// A deployment as clients see it.
pub(super) async fn described(
    app: &App,
    deployment: &Deployment,
    base: &PublicUrl,
) -> Result<WireDeployment, Problem> {
    let pusher = reference_of(app, deployment.record.pusher).await?;
    let now = app.service.clock.now();
    Ok(wire_deployment(deployment, pusher, base, now))
}

fn wire_deployment(
    deployment: &Deployment,
    pusher: UserReference,
    base: &PublicUrl,
    now: Timestamp,
) -> WireDeployment {
    let Deployment {
        id, record, end, ..
    } = deployment;
    let app = AppId::from_bytes(id.app);
    WireDeployment {
        id: id.to_string(),
        app_id: app.to_string(),
        created_at: record.created_at,
        started_at: deployment.started_at(),
        finished_at: end.as_ref().map(|end| end.at),
        status: deployment.status(),
        reason: end.as_ref().and_then(|end| end.reason.clone()),
        git_ref: record.git_ref.clone(),
        kind: DeploymentKind::Archive,
        duration: deployment.duration(now).as_secs(),
        image_size: 0,
        pusher,
        source: wire_source(&record.source),
        links: DeploymentLinks {
            output: base.deployment_output(&app, id),
            deployments_stream: base.deployments_stream(&app),
        },
    }
}

fn wire_source(source: &SourceRecord) -> DeploymentSource {
    match source {
        SourceRecord::Own {
            sha256, size_bytes, ..
        } => DeploymentSource {
            sha256: sha256.map(|sha256| sha256.to_string()),
            size: Some(*size_bytes),
            host: None,
        },
        SourceRecord::Elsewhere { host, .. } => DeploymentSource {
            sha256: None,
            size: None,
            host: Some(host.clone()),
        },
    }
}
