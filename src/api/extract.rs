//! What a handler is given only after it has been checked: who calls, what a URL allows, a JSON body.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request};
use bytes::Bytes;
use headers::authorization::{Basic, Bearer};
use headers::{Authorization, HeaderMapExt};
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use serde_json::{Map, Value};

use super::App;
use super::envelope::AllowanceNote;
use super::problem::{ApiError, Denied};
use crate::body::announced_bytes;
use crate::grant::{DownloadGrant, UploadGrant};
use crate::limits::{Allowance, Held};
use crate::proxies::{Peer, client_of};
use crate::public_url::PublicUrl;
use crate::service::account::{API_TOKEN_PREFIX, TokenId, UserId};
use crate::service::accounts::ApiTokenError;
use crate::service::jwt::{BearerError, Caller};
use crate::source::SourceId;

/// Who calls the API. The call has been counted.
pub(super) struct Calling(pub(super) Caller);

impl FromRequestParts<Arc<App>> for Calling {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let caller = match verify_bearer(parts, app).await {
            Ok(caller) => caller,
            Err(error) => return Err(count_failure(parts, app, error)),
        };
        count_call(parts, app, caller.user)?;
        Ok(Self(caller))
    }
}

/// Who calls the API to change API tokens. What an API token was exchanged for outlives it by a while,
/// and must not be used by then to make one that stays.
pub(super) struct TokenKeeper(pub(super) UserId);

impl FromRequestParts<Arc<App>> for TokenKeeper {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Calling(caller) = Calling::from_request_parts(parts, app).await?;
        if app.accounts.has_token(caller.user, caller.token).await? {
            Ok(Self(caller.user))
        } else {
            Err(Denied::BearerUnknown.into())
        }
    }
}

/// A bearer is a JWT of ours, or an API token.
async fn verify_bearer(parts: &Parts, app: &App) -> Result<Caller, ApiError> {
    let now = app.clock.now();
    let bearer = match parts.headers.typed_get::<Authorization<Bearer>>() {
        Some(bearer) => bearer,
        None if parts.headers.contains_key(AUTHORIZATION) => {
            return Err(Denied::BearerMalformed.into());
        }
        None => return Err(Denied::BearerMissing.into()),
    };
    if bearer.token().starts_with(API_TOKEN_PREFIX) {
        let (malformed, unknown) = (Denied::BearerMalformed, Denied::BearerUnknown);
        return verify_api_token(bearer.token(), parts, app, malformed, unknown).await;
    }
    let denied = |error| match error {
        BearerError::Malformed => Denied::BearerMalformed,
        BearerError::Unknown => Denied::BearerUnknown,
        BearerError::Expired { expired_at } => Denied::BearerExpired { expired_at },
    };
    Ok(app.bearers.verify(bearer.token(), now).map_err(denied)?)
}

/// Who holds an API token, and wants a bearer for it. The call has been counted.
pub(super) struct TokenHolder(pub(super) Caller);

impl FromRequestParts<Arc<App>> for TokenHolder {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let caller = match verify_basic(parts, app).await {
            Ok(caller) => caller,
            Err(error) => return Err(count_failure(parts, app, error)),
        };
        count_call(parts, app, caller.user)?;
        Ok(Self(caller))
    }
}

/// Basic authentication with an empty user, and the API token as password.
async fn verify_basic(parts: &Parts, app: &App) -> Result<Caller, ApiError> {
    let basic = match parts.headers.typed_get::<Authorization<Basic>>() {
        Some(basic) if basic.username().is_empty() => basic,
        _ if !parts.headers.contains_key(AUTHORIZATION) => {
            return Err(Denied::ApiTokenMissing.into());
        }
        _ => return Err(Denied::ApiTokenMalformed.into()),
    };
    let (malformed, unknown) = (Denied::ApiTokenMalformed, Denied::ApiTokenUnknown);
    verify_api_token(basic.password(), parts, app, malformed, unknown).await
}

/// Looks an API token up. Of a client that fails too often, those that cannot be right are not, but for
/// one now and then: the store is not to be worn out by guesses.
async fn verify_api_token(
    text: &str,
    parts: &Parts,
    app: &App,
    malformed: Denied,
    unknown: Denied,
) -> Result<Caller, ApiError> {
    let client = client_of(&parts.headers, &parts.extensions, app);
    let guess = app.limiter.admit_guess(client);
    if let Err(too_many) = guess
        && !app.accounts.is_known(text).await?
    {
        return Err(too_many.into());
    }
    match app.accounts.verify_token(text, app.clock.now()).await {
        Ok(token) => Ok(Caller {
            user: token.user,
            token: token.id,
        }),
        Err(ApiTokenError::Malformed) => Err(malformed.into()),
        Err(ApiTokenError::Unknown) => Err(unknown.into()),
        Err(ApiTokenError::Account(error)) => Err(error.into()),
    }
}

/// Counts a failure to say who calls; a failure of ours is none. What the client is told.
fn count_failure(parts: &Parts, app: &App, error: ApiError) -> ApiError {
    if matches!(error, ApiError::Accounts(_)) {
        return error;
    }
    match app
        .limiter
        .count_failure(client_of(&parts.headers, &parts.extensions, app))
    {
        Ok(()) => error,
        Err(too_many) => too_many.into(),
    }
}

/// Counts a call of a user, and leaves a note of what is left to them, also if that is nothing.
fn count_call(parts: &Parts, app: &App, user: UserId) -> Result<(), ApiError> {
    let counted = app.limiter.count_call(user);
    let allowance = match &counted {
        Ok(allowance) => *allowance,
        Err(too_many) => Some(too_many.allowance()),
    };
    if let Some(allowance) = allowance {
        leave_note(parts, allowance);
    }
    counted.map(drop).map_err(ApiError::from)
}

fn leave_note(parts: &Parts, allowance: Allowance) {
    if let Some(note) = parts.extensions.get::<AllowanceNote>() {
        note.leave(allowance);
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

/// A place among the transfers of the client's address, kept for as long as the transfer runs.
pub(super) struct TransferPlace(pub(super) Option<Held>);

impl FromRequestParts<Arc<App>> for TransferPlace {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let client = client_of(&parts.headers, &parts.extensions, app);
        // A proxy that does not say for whom it speaks speaks for many.
        if app.proxies.trusts(client) {
            return Ok(Self(None));
        }
        Ok(Self(app.limiter.take_transfer(client)?))
    }
}

async fn source_of(parts: &mut Parts, app: &Arc<App>) -> Result<SourceId, ApiError> {
    let Path(segment) = Path::<String>::from_request_parts(parts, app)
        .await
        .map_err(|_| ApiError::NotASourceId)?;
    segment.parse().map_err(|_| ApiError::NotASourceId)
}

/// The API token that the path names.
pub(super) struct NamedToken(pub(super) TokenId);

impl FromRequestParts<Arc<App>> for NamedToken {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Path(segment) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| ApiError::NoSuchToken)?;
        segment.parse().map(Self).map_err(|_| ApiError::NoSuchToken)
    }
}

/// The one token of the query; nothing, which no grant accepts, if there is none or more than one.
pub(super) fn token_of(parts: &Parts) -> String {
    let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
    let pairs = query.map(|Query(pairs)| pairs).unwrap_or_default();
    let mut tokens = pairs.into_iter().filter(|(name, _)| name == "token");
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) => token,
        _ => String::new(),
    }
}

/// What links begin with for this request: what the operator says, or else the host that was asked,
/// as a trusted proxy may know it better.
pub(super) struct LinkBase(pub(super) PublicUrl);

impl FromRequestParts<Arc<App>> for LinkBase {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let base = app
            .public_url
            .clone()
            .or_else(|| asked_url(parts, app))
            .unwrap_or_else(|| app.local_url.clone());
        Ok(Self(base))
    }
}

fn asked_url(parts: &Parts, app: &App) -> Option<PublicUrl> {
    let peer = Peer::of(&parts.extensions);
    let asked = app.proxies.asked_of(peer, &parts.headers);
    let host = match asked.host {
        Some(host) => host,
        None => match parts.uri.authority() {
            Some(authority) => authority.clone(),
            None => parts.headers.get(HOST)?.as_bytes().try_into().ok()?,
        },
    };
    PublicUrl::of_host(asked.scheme, &host, &asked.prefix)
}

/// A body that is empty or a JSON object.
pub(super) struct JsonObject(pub(super) Map<String, Value>);

impl FromRequest<Arc<App>> for JsonObject {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let collected = tokio::time::timeout(
            app.api_body_timeout,
            collect(request, app.api_body_limit_bytes),
        );
        let body = collected.await.map_err(|_| ApiError::BodyTooSlow {
            timeout_seconds: app.api_body_timeout.as_secs_f64(),
        })??;
        parse_json_object(&body).map(Self)
    }
}

async fn collect(mut request: Request, limit_bytes: u64) -> Result<Bytes, ApiError> {
    let too_large = ApiError::BodyTooLarge { limit_bytes };
    if announced_bytes(request.body()) > Some(limit_bytes) {
        return Err(too_large);
    }
    let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
    DefaultBodyLimit::max(limit).apply(&mut request);
    match Bytes::from_request(request, &()).await {
        Err(BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_))) => {
            Err(too_large)
        }
        collected => collected.map_err(|_| ApiError::BodyEndedEarly),
    }
}

fn parse_json_object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    let not_json = |problem: String| ApiError::NotJson { problem };
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(not_json("it must be an object, like {}".to_owned())),
        Err(error) => Err(not_json(error.to_string())),
    }
}
