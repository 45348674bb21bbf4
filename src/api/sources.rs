//! The resource `source`: its creation by who has a bearer, its archive by who has a link.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::Response;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;

pub(super) mod conditions;
pub(super) mod digest_headers;

use super::App;
use super::answer::json_response;
use super::extract::{Calling, CanDownload, CanUpload, JsonObject, LinkBase, TransferPlace};
use super::problem::ApiError;
use crate::body::{announced_bytes, upload_stream};
use crate::clock::Timestamp;
use crate::media::MediaType;
use crate::server::sendfile::LentParts;
use crate::service::sources::{Announced, while_running};
use crate::source::{Facts, SourceId};
use conditions::{Selection, etag_text, last_modified_text, select};
use digest_headers::{claims_of, repr_digest};

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// A resource as the API answers with it: an object under its name.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Rooted {
    Source {
        upload_url: String,
        download_url: String,
    },
    Upload {
        size: u64,
        sha256: String,
        media_type: MediaType,
        uploaded_at: Timestamp,
        expires_at: Timestamp,
    },
}

/// `POST /v1/sources`: a new source's two links.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    _caller: Calling,
    LinkBase(base): LinkBase,
    _body: JsonObject,
) -> Result<Response, ApiError> {
    let links = app.sources.create().await?;
    let upload_url = links.upload_url(&base);
    let download_url = links.download_url(&base);
    let mut response = json_response(
        StatusCode::CREATED,
        private(),
        &Rooted::Source {
            upload_url,
            download_url,
        },
    );
    // For the log: here the path does not say which source it is.
    response.extensions_mut().insert(links.source);
    Ok(response)
}

/// `PUT /v1/sources/{source}?token=…`: takes the archive, and reports it.
pub(super) async fn upload(
    State(app): State<Arc<App>>,
    CanUpload(grant): CanUpload,
    TransferPlace(_place): TransferPlace,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let announced = Announced {
        size_bytes: announced_bytes(&body),
        claims: claims_of(&parts.headers)?,
    };
    check_whole(&parts.headers, announced.size_bytes)?;
    let expires_at = grant.source().expires_at();
    let facts = app
        .sources
        .receive(grant, announced, upload_stream(body))
        .await?;
    Ok(json_response(
        StatusCode::OK,
        private(),
        &Rooted::Upload {
            size: facts.size_bytes,
            sha256: facts.sha256.to_string(),
            media_type: facts.media_type,
            uploaded_at: facts.uploaded_at,
            expires_at,
        },
    ))
}

/// Refuses a part of an archive: to store it as if it were whole would be a corrupt archive with a
/// correct digest (RFC 9110, section 14.4). A "part" that is all of it is what some clients send.
fn check_whole(headers: &HeaderMap, size_bytes: Option<u64>) -> Result<(), ApiError> {
    let Some(range) = headers.get(CONTENT_RANGE) else {
        return Ok(());
    };
    let is_whole = size_bytes.is_some_and(|size| {
        let last = size.saturating_sub(1);
        range == format!("bytes 0-{last}/{size}").as_str()
    });
    if is_whole {
        Ok(())
    } else {
        Err(ApiError::PartialUpload)
    }
}

/// `GET`, `HEAD /v1/sources/{source}?token=…`: serves the archive.
pub(super) async fn download(
    State(app): State<Arc<App>>,
    CanDownload(grant): CanDownload,
    TransferPlace(place): TransferPlace,
    lent: Option<Extension<LentParts>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let source = grant.source();
    let opened = app.sources.open(grant).await?;
    let facts = opened.facts;
    let (status, range) = match select(&method, &headers, &facts)? {
        Selection::NotModified => return Ok(not_modified(&facts)),
        Selection::Whole => (StatusCode::OK, 0..facts.size_bytes),
        Selection::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
    };
    let mut sent = archive_headers(source, &facts);
    set(
        &mut sent,
        CONTENT_LENGTH,
        &(range.end - range.start).to_string(),
    );
    if status == StatusCode::PARTIAL_CONTENT {
        let part = format!(
            "bytes {}-{}/{}",
            range.start,
            range.end - 1,
            facts.size_bytes
        );
        set(&mut sent, CONTENT_RANGE, &part);
    }
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        match lent {
            Some(Extension(lent)) => lent.body(while_running(place, opened.into_pieces(range))),
            None => Body::from_stream(while_running(place, opened.into_stream(range))),
        }
    };
    Ok(respond(status, sent, body))
}

/// The length is that of the archive, as RFC 9110 (section 8.6) demands of one that is said here;
/// unsaid, the router would say 0.
fn not_modified(facts: &Facts) -> Response {
    let mut headers = private();
    set(&mut headers, CONTENT_LENGTH, &facts.size_bytes.to_string());
    set(&mut headers, ETAG, &etag_text(facts));
    set(&mut headers, LAST_MODIFIED, &last_modified_text(facts));
    respond(StatusCode::NOT_MODIFIED, headers, Body::empty())
}

/// What goes with an archive, whole or in part. There is never a `Content-Encoding`: clients would
/// unpack the archive behind their user's back.
fn archive_headers(source: SourceId, facts: &Facts) -> HeaderMap {
    let mut headers = private();
    let file_name = format!("{source}{}", facts.media_type.extension());
    set(&mut headers, CONTENT_TYPE, facts.media_type.name());
    set(&mut headers, ETAG, &etag_text(facts));
    set(&mut headers, REPR_DIGEST, &repr_digest(facts.sha256));
    set(&mut headers, LAST_MODIFIED, &last_modified_text(facts));
    set(&mut headers, ACCEPT_RANGES, "bytes");
    // Uploaded HTML must not run in this origin.
    set(
        &mut headers,
        CONTENT_DISPOSITION,
        &format!("attachment; filename=\"{file_name}\""),
    );
    set(&mut headers, X_CONTENT_TYPE_OPTIONS, "nosniff");
    headers
}

/// Nobody but who holds the link may keep what is answered.
pub(super) fn private() -> HeaderMap {
    let mut headers = HeaderMap::new();
    set(&mut headers, CACHE_CONTROL, "private, no-store");
    headers
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let value = HeaderValue::from_str(value).expect("header values made here are ASCII");
    headers.insert(name, value);
}

fn respond(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
