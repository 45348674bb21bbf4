//! The dialect of the IETF draft on resumable uploads (draft-ietf-httpbis-resumable-upload), interop versions 6 to 8.

use std::sync::Arc;

use axum::extract::{FromRequestParts as _, Request};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::LOCATION;
use http::request::Parts;
use hyper::body::Body as _;

use super::digest_headers::{digest_of_part, digest_of_whole};
use super::link::CanUpload;
use super::problems::invalid_header;
use super::resumable::{
    OfAttempt, Transfer, append_body, begin_attempt, check_part_type, limit_text, location,
    number_in, with_limit,
};
use super::upload::{check_bare, check_first, pieces_of, report};
use super::upload_headers::{
    UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_LIMIT, UPLOAD_OFFSET, is_complete,
};
use crate::api::answer::{private_headers, set_header};
use crate::api::app::App;
use crate::api::problem::Problem;
use crate::digest::ExpectedDigests;
use crate::secret::Secret;
use crate::service::sources::SourceError;
use crate::service::sources::attempts::{Appended, Part, PartEnd};
use crate::source::SourceId;
use crate::store::Plan;

const PART_TYPE: &str = "application/partial-upload";

/// `PUT U` or `POST U` of a beginning, or of nothing yet.
pub(super) async fn begin(app: Arc<App>, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let CanUpload(grant) = CanUpload::from_request_parts(&mut parts, &app).await?;
    let source = grant.source();
    check_bare(&parts.headers)?;
    check_first(&parts.headers)?;
    let plan = Plan {
        announced_bytes: number_in(&parts.headers, &UPLOAD_LENGTH)?,
        expected: digest_of_whole(&parts.headers)?,
        metadata: None,
    };
    let part = Part {
        offset: 0,
        size_bytes: body.size_hint().exact(),
        end: PartEnd::More,
        announced_bytes: None,
        expected: digest_of_part(&parts.headers)?,
        expected_of_all: ExpectedDigests::default(),
    };
    let transfer = if part.size_bytes == Some(0) {
        None
    } else {
        // First: who cannot send yet replaces nothing.
        Some(Transfer::begin(&mut parts, &app).await?)
    };
    let begun = begin_attempt(Arc::clone(&app), grant, plan).await;
    let of = begun.map_err(|error| with_limit(&app, source, error.into()))?;
    let link = location(&mut parts, &app, source, of.attempt).await?;
    drop(parts);
    let appended = match transfer {
        None => Appended {
            offset: 0,
            published: None,
        },
        Some(transfer) => {
            let appended = append_body(Arc::clone(&app), of, transfer, part, pieces_of(body)).await;
            appended.map_err(|error| refusal(&app, source, error, &link))?
        }
    };
    let mut response = answer(source, StatusCode::CREATED, appended);
    set_header(response.headers_mut(), LOCATION, link.reveal());
    let limit = limit_text(&app, source);
    set_header(response.headers_mut(), UPLOAD_LIMIT, &limit);
    Ok(response)
}

/// Of a first part. If its attempt remains, the client learns how to resume it.
fn refusal(app: &App, source: SourceId, error: SourceError, link: &Secret) -> Problem {
    let is_of_part_alone = error.is_of_part_alone();
    let problem = with_limit(app, source, error.into());
    if is_of_part_alone {
        problem.with(LOCATION, link.reveal())
    } else {
        problem
    }
}

/// `HEAD R`: how far it is.
pub(super) async fn look(app: Arc<App>, mut parts: Parts) -> Result<Response, Problem> {
    let of = OfAttempt::read(&mut parts, &app).await?;
    let found = app
        .service
        .sources
        .find_attempt(&of.grant, of.attempt, PartEnd::More);
    let progress = found.await?;
    let is_complete = if progress.first.is_some() { "?1" } else { "?0" };
    let mut headers = private_headers();
    let mut put = |name, value: &str| set_header(&mut headers, name, value);
    put(UPLOAD_OFFSET, &progress.saved.offset.to_string());
    put(UPLOAD_COMPLETE, is_complete);
    if let Some(bytes) = progress.announced_bytes() {
        put(UPLOAD_LENGTH, &bytes.to_string());
    }
    put(UPLOAD_LIMIT, &limit_text(&app, of.grant.source()));
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

/// `PATCH R`: a part, which may be the last, and that may be empty.
pub(super) async fn append(app: Arc<App>, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let of = OfAttempt::read(&mut parts, &app).await?;
    check_part_type(&parts.headers, PART_TYPE)?;
    let is_complete = is_complete(&parts.headers);
    let is_complete =
        is_complete.ok_or_else(|| invalid_header(&UPLOAD_COMPLETE, "it is ?0 or ?1"))?;
    let offset = number_in(&parts.headers, &UPLOAD_OFFSET)?;
    let part = Part {
        offset: offset.ok_or_else(|| invalid_header(&UPLOAD_OFFSET, "it is missing"))?,
        size_bytes: body.size_hint().exact(),
        end: if is_complete {
            PartEnd::Last
        } else {
            PartEnd::More
        },
        announced_bytes: number_in(&parts.headers, &UPLOAD_LENGTH)?,
        expected: digest_of_part(&parts.headers)?,
        expected_of_all: digest_of_whole(&parts.headers)?,
    };
    let transfer = Transfer::begin(&mut parts, &app).await?;
    drop(parts);
    let source = of.grant.source();
    let appended = append_body(Arc::clone(&app), of, transfer, part, pieces_of(body)).await;
    let appended = appended.map_err(|error| with_limit(&app, source, error.into()))?;
    let status = match appended.published {
        Some(_) => StatusCode::OK,
        None => StatusCode::NO_CONTENT,
    };
    Ok(answer(source, status, appended))
}

/// `DELETE R`.
pub(super) async fn cancel(app: Arc<App>, mut parts: Parts) -> Result<(), Problem> {
    let of = OfAttempt::read(&mut parts, &app).await?;
    let cancelled = app.service.sources.cancel_attempt(&of.grant, of.attempt);
    Ok(cancelled.await?)
}

/// How far it is after a part; of a whole archive the report of a PUT.
fn answer(source: SourceId, status: StatusCode, appended: Appended) -> Response {
    let (mut response, is_complete) = match appended.published {
        Some(facts) => (report(source, &facts), "?1"),
        None => ((status, private_headers()).into_response(), "?0"),
    };
    let headers = response.headers_mut();
    set_header(headers, UPLOAD_COMPLETE, is_complete);
    set_header(headers, UPLOAD_OFFSET, &appended.offset.to_string());
    response
}
