//! Who calls: the bearer or API token of a request, checked and counted before a handler runs.

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
use crate::limits::Allowance;
use crate::service::api_tokens::{API_TOKEN_PREFIX, VerifyError};
use crate::service::jwt::{BearerError, Caller};
use crate::service::users::UserId;

pub(super) use problems::Denied;

/// Why a call is not let in.
enum Refusal {
    /// It cannot be said who calls.
    Denied(Denied),
    /// Something else went wrong, which is no guess.
    Problem(Problem),
}

/// Who calls the API. The call has been counted.
pub(super) struct Authenticated(pub(super) Caller);

impl FromRequestParts<Arc<App>> for Authenticated {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let caller = match verify_bearer(parts, app).await {
            Ok(caller) => caller,
            Err(refusal) => return Err(count_failure(parts, app, refusal)),
        };
        count_call(parts, app, caller.user)?;
        Ok(Self(caller))
    }
}

/// Who calls the API to change API tokens. What an API token was exchanged for outlives it by a while,
/// and must not be used by then to make one that stays.
pub(super) struct TokenAdmin(pub(super) UserId);

impl FromRequestParts<Arc<App>> for TokenAdmin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Authenticated(caller) = Authenticated::from_request_parts(parts, app).await?;
        let token = app.service.api_tokens.find(caller.user, caller.token);
        match token.await? {
            Some(_) => Ok(Self(caller.user)),
            None => Err(Denied::BearerUnknown.into()),
        }
    }
}

/// A bearer is a JWT of ours, or an API token.
async fn verify_bearer(parts: &Parts, app: &App) -> Result<Caller, Refusal> {
    let now = app.service.clock.now();
    let bearer = match parts.headers.typed_get::<Authorization<Bearer>>() {
        Some(bearer) => bearer,
        None if parts.headers.contains_key(AUTHORIZATION) => {
            return Err(Refusal::Denied(Denied::BearerMalformed));
        }
        None => return Err(Refusal::Denied(Denied::BearerMissing)),
    };
    if bearer.token().starts_with(API_TOKEN_PREFIX) {
        let (malformed, unknown) = (Denied::BearerMalformed, Denied::BearerUnknown);
        return verify_api_token(bearer.token(), parts, app, malformed, unknown).await;
    }
    let denied = |error| match error {
        BearerError::Malformed => Denied::BearerMalformed,
        BearerError::Unknown => Denied::BearerUnknown,
        BearerError::Expired { expired_at } => Denied::BearerExpired { expired_at, now },
    };
    let verified = app.service.bearers.verify(bearer.token(), now);
    verified.map_err(|error| Refusal::Denied(denied(error)))
}

/// Who holds an API token, and wants a bearer for it. The call has been counted.
pub(super) struct ApiTokenHolder(pub(super) Caller);

impl FromRequestParts<Arc<App>> for ApiTokenHolder {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let caller = match verify_basic(parts, app).await {
            Ok(caller) => caller,
            Err(refusal) => return Err(count_failure(parts, app, refusal)),
        };
        count_call(parts, app, caller.user)?;
        Ok(Self(caller))
    }
}

/// Basic authentication with an empty user, and the API token as password.
async fn verify_basic(parts: &Parts, app: &App) -> Result<Caller, Refusal> {
    let basic = match parts.headers.typed_get::<Authorization<Basic>>() {
        Some(basic) if basic.username().is_empty() => basic,
        _ if !parts.headers.contains_key(AUTHORIZATION) => {
            return Err(Refusal::Denied(Denied::ApiTokenMissing));
        }
        _ => return Err(Refusal::Denied(Denied::ApiTokenMalformed)),
    };
    let (malformed, unknown) = (Denied::ApiTokenMalformed, Denied::ApiTokenUnknown);
    verify_api_token(basic.password(), parts, app, malformed, unknown).await
}

/// Looks an API token up. From a client that failed too often, few are: guesses must not wear the store
/// out.
async fn verify_api_token(
    text: &str,
    parts: &Parts,
    app: &App,
    malformed: Denied,
    unknown: Denied,
) -> Result<Caller, Refusal> {
    let client = client_of(&parts.headers, &parts.extensions, app);
    let admitted = app.limiter.admit_api_token(client, text);
    admitted.map_err(|too_many| Refusal::Problem(too_many.into()))?;
    let now = app.service.clock.now();
    match app.service.api_tokens.verify(text, now).await {
        Ok(token) => {
            app.limiter.note_right_api_token(text);
            Ok(Caller {
                user: token.user,
                token: token.id,
            })
        }
        Err(VerifyError::Malformed) => Err(Refusal::Denied(malformed)),
        Err(VerifyError::Unknown) => Err(Refusal::Denied(unknown)),
        Err(VerifyError::Store(error)) => Err(Refusal::Problem(error.into())),
    }
}

/// Counts a failure to say who calls; a failure of ours is none.
fn count_failure(parts: &Parts, app: &App, refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Problem(problem) => problem,
        Refusal::Denied(denied) => {
            let client = client_of(&parts.headers, &parts.extensions, app);
            let counted = app.limiter.count_failure(client);
            counted.map_or_else(Problem::from, |()| denied.into())
        }
    }
}

/// Counts a call of a user, and leaves a note of what is left to them, also if that is nothing.
fn count_call(parts: &Parts, app: &App, user: UserId) -> Result<(), Problem> {
    let counted = app.limiter.count_call(*user.as_uuid());
    let allowance = match &counted {
        Ok(allowance) => *allowance,
        Err(too_many) => Some(too_many.allowance()),
    };
    if let Some(allowance) = allowance {
        leave_note(parts, allowance);
    }
    counted.map(drop).map_err(Problem::from)
}

fn leave_note(parts: &Parts, allowance: Allowance) {
    if let Some(note) = parts.extensions.get::<AllowanceNote>() {
        note.leave(allowance);
    }
}
