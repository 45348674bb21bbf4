//! The dialect of tus 1.0 (<https://tus.io/protocols/resumable-upload>), with its extensions creation, expiration and
//! termination.

use std::sync::Arc;

use axum::extract::{FromRequestParts as _, Request};
use axum::response::{IntoResponse as _, Response};
use http::header::LOCATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode};
use hyper::body::Body as _;

use super::link::CanUpload;
use super::problems::{invalid_header, locked, no_concatenation, unknown_tus_version};
use super::resumable::{
    OfAttempt, Transfer, append_body, begin_attempt, check_part_type, done, limit_text, location,
    number_in, with_limit,
};
use super::upload::pieces_of;
use super::upload_headers::{UPLOAD_LENGTH, UPLOAD_LIMIT, UPLOAD_OFFSET};
use crate::api::answer::{private_headers, set_header};
use crate::api::app::App;
use crate::api::problem::Problem;
use crate::digest::ExpectedDigests;
use crate::service::sources::SourceError;
use crate::service::sources::attempts::{Part, PartEnd};
use crate::source::SourceId;
use crate::store::Plan;
use crate::store::attempt::MAX_METADATA_BYTES;

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
const UPLOAD_CONCAT: HeaderName = HeaderName::from_static("upload-concat");
const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");

const VERSION: &str = "1.0.0";
const EXTENSIONS: &str = "creation,expiration,termination";
const PART_TYPE: &str = "application/offset+octet-stream";

pub(super) fn speaks(headers: &HeaderMap) -> bool {
    headers.contains_key(TUS_RESUMABLE)
}

/// What an upload link can do by this protocol.
pub(super) fn put_abilities(app: &App, headers: &mut HeaderMap) {
    set_header(headers, TUS_RESUMABLE, VERSION);
    set_header(headers, TUS_VERSION, VERSION);
    set_header(headers, TUS_EXTENSION, EXTENSIONS);
    if app.service.sources.upload_limit_bytes() < u64::MAX {
        let limit = app.service.sources.upload_limit_bytes().to_string();
        set_header(headers, TUS_MAX_SIZE, &limit);
    }
}

/// Every answer names the version.
fn versioned(answer: Result<Response, Problem>) -> Result<Response, Problem> {
    match answer {
        Ok(mut response) => {
            set_header(response.headers_mut(), TUS_RESUMABLE, VERSION);
            Ok(response)
        }
        Err(problem) => Err(locked(problem).with(TUS_RESUMABLE, VERSION)),
    }
}

fn check_version(headers: &HeaderMap) -> Result<(), Problem> {
    let mut versions = headers.get_all(TUS_RESUMABLE).iter();
    if versions.all(|version| version == VERSION) {
        Ok(())
    } else {
        Err(unknown_tus_version(VERSION).with(TUS_VERSION, VERSION))
    }
}

/// `POST U`: a new attempt.
pub(super) async fn begin(app: Arc<App>, request: Request) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    versioned(begin_upload(app, &mut parts).await)
}

async fn begin_upload(app: Arc<App>, parts: &mut Parts) -> Result<Response, Problem> {
    check_version(&parts.headers)?;
    let CanUpload(grant) = CanUpload::from_request_parts(parts, &app).await?;
    let source = grant.source();
    let plan = plan_of(&parts.headers)?;
    let begun = begin_attempt(Arc::clone(&app), grant, plan).await;
    let of = begun.map_err(|error| with_limit(&app, source, error.into()))?;
    let link = location(parts, &app, source, of.attempt).await?;
    let mut headers = private_headers();
    set_header(&mut headers, LOCATION, link.reveal());
    put_expiry(&mut headers, source);
    Ok((StatusCode::CREATED, headers).into_response())
}

fn plan_of(headers: &HeaderMap) -> Result<Plan, Problem> {
    if headers.contains_key(UPLOAD_CONCAT) {
        return Err(no_concatenation());
    }
    let announced_bytes = number_in(headers, &UPLOAD_LENGTH)?;
    let is_deferred = headers
        .get(UPLOAD_DEFER_LENGTH)
        .is_some_and(|value| value == "1");
    if announced_bytes.is_some() == is_deferred {
        let problem = "either this or Upload-Defer-Length: 1 says how long the archive is";
        return Err(invalid_header(&UPLOAD_LENGTH, problem));
    }
    let metadata = headers.get(UPLOAD_METADATA);
    let metadata = metadata.map(|value| value.to_str().unwrap_or_default().to_owned());
    if metadata
        .as_ref()
        .is_some_and(|text| text.len() > MAX_METADATA_BYTES)
    {
        let problem = format!("it has at most {MAX_METADATA_BYTES} bytes");
        return Err(invalid_header(&UPLOAD_METADATA, &problem));
    }
    Ok(Plan {
        announced_bytes,
        expected: ExpectedDigests::default(),
        metadata,
    })
}

/// `HEAD R`: how far it is.
pub(super) async fn look(app: Arc<App>, mut parts: Parts) -> Result<Response, Problem> {
    versioned(look_at(app, &mut parts).await)
}

async fn look_at(app: Arc<App>, parts: &mut Parts) -> Result<Response, Problem> {
    check_version(&parts.headers)?;
    let of = OfAttempt::read(parts, &app).await?;
    let found = app
        .service
        .sources
        .find_attempt(&of.grant, of.attempt, PartEnd::ByLength);
    let progress = found.await?;
    let mut headers = private_headers();
    let mut put = |name, value: &str| set_header(&mut headers, name, value);
    put(UPLOAD_OFFSET, &progress.saved.offset.to_string());
    match progress.announced_bytes() {
        Some(bytes) => put(UPLOAD_LENGTH, &bytes.to_string()),
        None => put(UPLOAD_DEFER_LENGTH, "1"),
    }
    if let Some(metadata) = &progress.plan.metadata {
        put(UPLOAD_METADATA, metadata);
    }
    put(UPLOAD_LIMIT, &limit_text(&app, of.grant.source()));
    put_expiry(&mut headers, of.grant.source());
    Ok((StatusCode::OK, headers).into_response())
}

/// `PATCH R`: a part; the one that reaches the end is answered once the archive is published.
pub(super) async fn append(app: Arc<App>, request: Request) -> Result<Response, Problem> {
    versioned(append_part(app, request).await)
}

async fn append_part(app: Arc<App>, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    check_version(&parts.headers)?;
    let of = OfAttempt::read(&mut parts, &app).await?;
    check_part_type(&parts.headers, PART_TYPE)?;
    let offset = number_in(&parts.headers, &UPLOAD_OFFSET)?;
    let part = Part {
        offset: offset.ok_or_else(|| invalid_header(&UPLOAD_OFFSET, "it is missing"))?,
        size_bytes: body.size_hint().exact(),
        end: PartEnd::ByLength,
        announced_bytes: number_in(&parts.headers, &UPLOAD_LENGTH)?,
        expected: ExpectedDigests::default(),
        expected_of_all: ExpectedDigests::default(),
    };
    let transfer = Transfer::begin(&mut parts, &app).await?;
    drop(parts);
    let source = of.grant.source();
    let appended = append_body(Arc::clone(&app), of, transfer, part, pieces_of(body)).await;
    let appended = appended.map_err(|error| with_limit(&app, source, error.into()))?;
    let mut headers = private_headers();
    set_header(&mut headers, UPLOAD_OFFSET, &appended.offset.to_string());
    put_expiry(&mut headers, source);
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

/// `DELETE R`.
pub(super) async fn cancel(app: Arc<App>, mut parts: Parts) -> Result<Response, Problem> {
    let cancel = async {
        check_version(&parts.headers)?;
        let of = OfAttempt::read(&mut parts, &app).await?;
        let cancelled = app.service.sources.cancel_attempt(&of.grant, of.attempt);
        cancelled.await.map_err(|error: SourceError| error.into())
    };
    versioned(cancel.await.map(|()| done()))
}

fn put_expiry(headers: &mut HeaderMap, source: SourceId) {
    let expires_at = httpdate::fmt_http_date(source.expires_at().as_system_time());
    set_header(headers, UPLOAD_EXPIRES, &expires_at);
}
