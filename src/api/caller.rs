//! The caller: the bearer or API token of a request, checked and counted before a handler runs.

mod problems;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use headers::authorization::{Basic, Bearer};
use headers::{Authorization, HeaderMapExt};
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::allowance::AllowanceNote;
use super::app::App;
use super::client::client_of;
use super::problem::Problem;
use crate::limits::{Allowance, TooMany};
use crate::service::api_tokens::{API_TOKEN_PREFIX, ApiToken, TokenId, TokenKind, VerifyError};
use crate::service::jwt::{BearerError, Caller};
use crate::service::users::UserId;

pub(super) use problems::AuthError;

/// The caller of the API. The call has been counted.
pub(super) struct Authenticated(pub(super) Caller);

impl FromRequestParts<Arc<App>> for Authenticated {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let caller = verify_bearer(parts, app, Call::Counted).await?;
        count_call(parts, app, caller.user)?;
        Ok(Self(caller))
    }
}

/// The caller of the API, if the call does not count.
pub(super) struct UncountedCaller(pub(super) Caller);

impl FromRequestParts<Arc<App>> for UncountedCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        verify_bearer(parts, app, Call::Uncounted).await.map(Self)
    }
}

/// A runner that asks for work, by the API token that the operator made for it. It may ask as often as it has ended
/// something.
pub(super) struct Runner(pub(super) TokenId);

impl FromRequestParts<Arc<App>> for Runner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let (text, now) = (read_bearer(parts, app)?, app.service.clock.now());
        if app.service.bearers.verify(&text, now).is_ok() {
            return Err(AuthError::NotARunner.into());
        }
        let (malformed, unknown) = (AuthError::BearerMalformed, AuthError::BearerUnknown);
        let token =
            verify_api_token(&text, parts, app, Call::Uncounted, malformed, unknown).await?;
        match token.kind {
            TokenKind::Runner => Ok(Self(token.id)),
            TokenKind::User => Err(AuthError::NotARunner.into()),
        }
    }
}

/// Does the rate limit of users count a call?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Counted,
    Uncounted,
}

/// The caller of the API who changes API tokens. A JWT outlives its API token, and the secret it was exchanged for, by up
/// to an hour; in that time it must not make a token that lasts.
pub(super) struct TokenAdmin(pub(super) UserId);

impl FromRequestParts<Arc<App>> for TokenAdmin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Authenticated(caller) = Authenticated::from_request_parts(parts, app).await?;
        let token = app.service.api_tokens.find(caller.user, caller.token);
        match token.await? {
            Some(token) if token.secret_tag() == caller.secret => Ok(Self(caller.user)),
            Some(_) | None => Err(AuthError::BearerUnknown.into()),
        }
    }
}

/// A bearer is a JWT of ours, or an API token of a user.
async fn verify_bearer(parts: &Parts, app: &App, call: Call) -> Result<Caller, Problem> {
    verify(&read_bearer(parts, app)?, parts, app, call).await
}

/// The caller with a token that was not in the `Authorization` of `parts`. The call does not count.
pub(super) async fn verify_token(text: &str, parts: &Parts, app: &App) -> Result<Caller, Problem> {
    verify(text, parts, app, Call::Uncounted).await
}

async fn verify(text: &str, parts: &Parts, app: &App, call: Call) -> Result<Caller, Problem> {
    let now = app.service.clock.now();
    let deny = |error| Err(count_failure(parts, app, error));
    if text.starts_with(API_TOKEN_PREFIX) {
        let (malformed, unknown) = (AuthError::BearerMalformed, AuthError::BearerUnknown);
        let token = verify_api_token(text, parts, app, call, malformed, unknown).await?;
        return Ok(caller_by(&token)?);
    }
    match app.service.bearers.verify(text, now) {
        Ok(caller) => Ok(caller),
        Err(BearerError::Malformed) => deny(AuthError::BearerMalformed),
        Err(BearerError::Unknown) => deny(AuthError::BearerUnknown),
        Err(BearerError::Expired { expired_at }) => {
            deny(AuthError::BearerExpired { expired_at, now })
        }
    }
}

fn read_bearer(parts: &Parts, app: &App) -> Result<String, Problem> {
    let denied = match parts.headers.typed_get::<Authorization<Bearer>>() {
        Some(bearer) => return Ok(bearer.token().to_owned()),
        None if parts.headers.contains_key(AUTHORIZATION) => AuthError::BearerMalformed,
        None => AuthError::BearerMissing,
    };
    Err(count_failure(parts, app, denied))
}

/// The user whose API token that is. One for runners is no user's.
fn caller_by(token: &ApiToken) -> Result<Caller, AuthError> {
    match token.kind {
        TokenKind::User => Ok(Caller {
            user: token.user,
            token: token.id,
            secret: token.secret_tag(),
        }),
        TokenKind::Runner => Err(AuthError::OnlyARunner),
    }
}

/// The holder of an API token who wants a bearer for it. The call has been counted.
pub(super) struct ApiTokenHolder(pub(super) Caller);

impl FromRequestParts<Arc<App>> for ApiTokenHolder {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let caller = verify_basic(parts, app).await?;
        count_call(parts, app, caller.user)?;
        Ok(Self(caller))
    }
}

/// Basic authentication with an empty user, and the API token as password.
async fn verify_basic(parts: &Parts, app: &App) -> Result<Caller, Problem> {
    let deny = |error| Err(count_failure(parts, app, error));
    let basic = match parts.headers.typed_get::<Authorization<Basic>>() {
        Some(basic) if basic.username().is_empty() => basic,
        None if !parts.headers.contains_key(AUTHORIZATION) => {
            return deny(AuthError::ApiTokenMissing);
        }
        _ => return deny(AuthError::ApiTokenMalformed),
    };
    let (malformed, unknown) = (AuthError::ApiTokenMalformed, AuthError::ApiTokenUnknown);
    let password = basic.password();
    let token = verify_api_token(password, parts, app, Call::Counted, malformed, unknown).await?;
    Ok(caller_by(&token)?)
}

/// Looks up an API token. For a client that failed too often only few are, so that guesses do not load the store.
async fn verify_api_token(
    text: &str,
    parts: &Parts,
    app: &App,
    call: Call,
    malformed: AuthError,
    unknown: AuthError,
) -> Result<ApiToken, Problem> {
    let client = client_of(&parts.headers, &parts.extensions, app);
    app.limiter.admit_api_token(client, text)?;
    if call == Call::Counted
        && let Err(too_many) = app.limiter.peek_call(text)
    {
        leave_note(parts, too_many.0);
        return Err(too_many.into());
    }
    let now = app.service.clock.now();
    match app.service.api_tokens.verify(text, now).await {
        Ok(token) => {
            app.limiter
                .note_right_api_token(text, *token.user.as_uuid());
            Ok(token)
        }
        Err(VerifyError::Malformed) => Err(count_failure(parts, app, malformed)),
        Err(VerifyError::Unknown) => Err(count_failure(parts, app, unknown)),
        Err(VerifyError::Store(error)) => Err(error.into()),
    }
}

/// Counts a failed authentication. Beyond the limit, the answer does not even say why it failed.
fn count_failure(parts: &Parts, app: &App, error: AuthError) -> Problem {
    let client = client_of(&parts.headers, &parts.extensions, app);
    let counted = app.limiter.count_failure(client);
    counted.map_or_else(Problem::from, |()| error.into())
}

/// Counts a call of a user, and notes the remaining quota for the answer, even if it is used up.
fn count_call(parts: &Parts, app: &App, user: UserId) -> Result<(), Problem> {
    let counted = app.limiter.count_call(*user.as_uuid());
    match counted {
        Ok(Some(allowance)) | Err(TooMany(allowance)) => leave_note(parts, allowance),
        Ok(None) => {}
    }
    counted.map(drop).map_err(Problem::from)
}

fn leave_note(parts: &Parts, allowance: Allowance) {
    if let Some(note) = parts.extensions.get::<AllowanceNote>() {
        note.leave(allowance);
    }
}
