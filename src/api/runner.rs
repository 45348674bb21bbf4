//! What runners call: claims by their token, reports and archives by links that are for one attempt.

mod link;
mod problems;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::Value;

use super::answer::{private_headers, private_json};
use super::app::App;
use super::caller::Runner;
use super::client::LinkBase;
use super::deployments::described;
use super::json_body::{JsonObject, collect_in_time};
use super::problem::Problem;
use super::query::only_value_of;
use super::sources::{DownloadRequest, TransferPermit, serve};
use crate::deployment::Status;
use crate::file_sender::FileSender;
use crate::secret::Secret;
use crate::service::deployments::Claimed;
use crate::stopping::Stopping;
use crate::store::MAX_APPEND_BYTES;
use crate::wire::runner::{Claim, ClaimAnswer, ClaimedApp, LogAnswer, StatusAnswer};

use link::{CanFetch, CanReport};

/// How long a runner waits for work before it has to ask again.
const PATIENCE: Duration = Duration::from_secs(30);

/// `POST /v1/runner/claims`: a deployment to run, or 204 if there is none for a while.
pub(super) async fn claim(
    State(app): State<Arc<App>>,
    Runner(runner): Runner,
    LinkBase(base): LinkBase,
    stopping: Option<Extension<Stopping>>,
    _body: JsonObject,
) -> Result<Response, Problem> {
    app.metrics.note_runner(&runner.to_string());
    let deployments = &app.service.deployments;
    let waited = deployments.wait_for_claim(runner, &base, PATIENCE);
    let claimed = tokio::select! {
        biased;
        claimed = waited => claimed?,
        () = until_stopping(stopping) => None,
    };
    let Some(claimed) = claimed else {
        return Ok((StatusCode::NO_CONTENT, private_headers()).into_response());
    };
    let Claimed {
        deployment,
        app: claimed_app,
        variables,
        report_url,
        source_url,
        deadline_at,
    } = claimed;
    let claim = Claim {
        deployment: described(&app, &deployment, &base).await?,
        app: ClaimedApp {
            id: claimed_app.id.to_string(),
            name: claimed_app.name,
        },
        variables: revealed(&variables),
        source_url: source_url.reveal().to_owned(),
        report_url: report_url.reveal().to_owned(),
        deadline_at,
        timeout_seconds: deployments.limits().run_timeout.as_secs(),
        log_limit_bytes: deployments.limits().log_bytes,
    };
    Ok(private_json(StatusCode::OK, &ClaimAnswer { claim }))
}

fn revealed(variables: &BTreeMap<String, Secret>) -> BTreeMap<String, String> {
    let revealed = variables.iter();
    let revealed = revealed.map(|(name, value)| (name.clone(), value.reveal().to_owned()));
    revealed.collect()
}

/// A server that shuts down lets its runners go to another.
async fn until_stopping(stopping: Option<Extension<Stopping>>) {
    match stopping {
        Some(Extension(mut stopping)) => stopping.wait().await,
        None => std::future::pending().await,
    }
}

/// `PUT /v1/runner/reports/{grant}/log?offset=N`: more of the log, or only that the runner is there.
pub(super) async fn append_log(
    State(app): State<Arc<App>>,
    CanReport(grant): CanReport,
    uri: Uri,
    request: Request,
) -> Result<Response, Problem> {
    let offset = offset_in(&uri).ok_or_else(problems::no_offset)?;
    let bytes = collect_in_time(request, &app, MAX_APPEND_BYTES as u64).await?;
    app.metrics.note_log_bytes(bytes.len());
    let append = app
        .service
        .deployments
        .append_log(grant, offset, bytes.into());
    let state = append.await?;
    let answer = LogAnswer {
        log_bytes: state.log_bytes,
        cancel: state.is_cancelled,
    };
    Ok(private_json(StatusCode::OK, &answer))
}

/// `PUT /v1/runner/reports/{grant}/status`: how it goes, and how it ended.
pub(super) async fn report_status(
    State(app): State<Arc<App>>,
    CanReport(grant): CanReport,
    JsonObject(body): JsonObject,
) -> Result<Response, Problem> {
    let status = body.get("status").cloned().unwrap_or_default();
    let status = serde_json::from_value(status).unwrap_or(Status::Queued);
    if status == Status::Queued {
        return Err(problems::no_status());
    }
    let reason = match body.get("reason") {
        Some(Value::String(reason)) if !reason.is_empty() => Some(reason.clone()),
        Some(Value::Null | Value::String(_)) | None => None,
        Some(_) => return Err(Problem::wrong_attribute("reason", "must be a string")),
    };
    let report = app.service.deployments.report_status(grant, status, reason);
    let cancel = report.await?;
    Ok(private_json(
        StatusCode::OK,
        &StatusAnswer { status, cancel },
    ))
}

/// `GET`, `HEAD /v1/runner/sources/{grant}`: the archive, whether or not its own link has expired.
pub(super) async fn download(
    State(app): State<Arc<App>>,
    CanFetch(grant): CanFetch,
    TransferPermit(permit): TransferPermit,
    sender: Option<Extension<FileSender>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let source = app.service.deployments.archive_of(grant).await?;
    let (archive, slot) = app.service.sources.open_pinned(source, grant).await?;
    let request = DownloadRequest {
        method: &method,
        headers: &headers,
        sender,
    };
    serve(source, archive, (slot, permit), request)
}

/// The one offset of the query.
fn offset_in(uri: &Uri) -> Option<u64> {
    let offset = only_value_of(uri, "offset")?;
    let is_number = offset.bytes().all(|byte| byte.is_ascii_digit());
    offset.parse().ok().filter(|_| is_number)
}
