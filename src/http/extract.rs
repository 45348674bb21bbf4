//! What a handler is given only after it has been checked: who calls, what a URL allows, a JSON body.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::Bytes;
use headers::authorization::Bearer;
use headers::{Authorization, HeaderMapExt};
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::uri::Authority;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use super::App;
use super::body::announced_bytes;
use super::error::ApiError;
use crate::accounts::BearerError;
use crate::grant::{DownloadGrant, UploadGrant};
use crate::public_url::PublicUrl;
use crate::source::SourceId;

/// Whoever calls the API holds an API token.
pub(super) struct Caller;

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let bearer = match parts.headers.typed_get::<Authorization<Bearer>>() {
            Some(bearer) => bearer,
            None if parts.headers.contains_key(AUTHORIZATION) => {
                return Err(ApiError::BearerMalformed);
            }
            None => return Err(ApiError::BearerMissing),
        };
        match app.accounts.verify_bearer(bearer.token()).await {
            Ok(_) => Ok(Self),
            Err(BearerError::Malformed) => Err(ApiError::BearerMalformed),
            Err(BearerError::Unknown) => Err(ApiError::BearerUnknown),
            Err(BearerError::Account(error)) => Err(error.into()),
        }
    }
}

/// The URL is an upload link that is valid now.
pub(super) struct CanUpload(pub(super) UploadGrant);

impl FromRequestParts<Arc<App>> for CanUpload {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let source = source_of(parts, app).await?;
        let grant = app
            .sources
            .keys()
            .verify_upload(source, &token_of(parts), app.clock.now())?;
        Ok(Self(grant))
    }
}

/// The URL is a download link that is valid now.
pub(super) struct CanDownload(pub(super) DownloadGrant);

impl FromRequestParts<Arc<App>> for CanDownload {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let source = source_of(parts, app).await?;
        let grant =
            app.sources
                .keys()
                .verify_download(source, &token_of(parts), app.clock.now())?;
        Ok(Self(grant))
    }
}

async fn source_of(parts: &mut Parts, app: &Arc<App>) -> Result<SourceId, ApiError> {
    let Path(segment) = Path::<String>::from_request_parts(parts, app)
        .await
        .map_err(|_| ApiError::NotASourceId)?;
    segment.parse().map_err(|_| ApiError::NotASourceId)
}

/// The one token of the query; nothing, which no grant accepts, if there is none or more than one.
fn token_of(parts: &Parts) -> String {
    let query = parts.uri.query().unwrap_or_default();
    let mut tokens = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "token");
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) => token.into_owned(),
        _ => String::new(),
    }
}

/// What links begin with for this request: what the operator says, or the host that was asked.
pub(super) struct LinkBase(pub(super) PublicUrl);

impl FromRequestParts<Arc<App>> for LinkBase {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Arc<App>,
    ) -> Result<Self, std::convert::Infallible> {
        let asked = || host_of(parts).and_then(|host| PublicUrl::of_host(&host));
        let base = app.public_url.clone().or_else(asked);
        Ok(Self(base.unwrap_or_else(|| app.local_url.clone())))
    }
}

fn host_of(parts: &Parts) -> Option<Authority> {
    match parts.uri.authority() {
        Some(authority) => Some(authority.clone()),
        None => parts.headers.get(HOST)?.as_bytes().try_into().ok(),
    }
}

/// A body that is empty or any JSON object. No call has a use for what is in it.
pub(super) struct JsonObject;

impl FromRequest<Arc<App>> for JsonObject {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let collected = tokio::time::timeout(
            app.api_body_timeout,
            collect(request.into_body(), app.api_body_limit_bytes),
        );
        let body = collected.await.map_err(|_| ApiError::BodyTooSlow {
            timeout_seconds: app.api_body_timeout.as_secs_f64(),
        })??;
        check_json_object(&body)
    }
}

async fn collect(body: Body, limit_bytes: u64) -> Result<Bytes, ApiError> {
    let too_large = ApiError::BodyTooLarge { limit_bytes };
    if announced_bytes(&body) > Some(limit_bytes) {
        return Err(too_large);
    }
    let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large),
        Err(_) => Err(ApiError::BodyEndedEarly),
    }
}

fn check_json_object(body: &[u8]) -> Result<JsonObject, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(JsonObject);
    }
    let not_json = |problem: String| ApiError::NotJson { problem };
    match serde_json::from_slice(body) {
        Ok(Value::Object(_)) => Ok(JsonObject),
        Ok(_) => Err(not_json("it must be an object, like {}".to_owned())),
        Err(error) => Err(not_json(error.to_string())),
    }
}
