//! The resource `token`: the exchange of an API token for a bearer, and a user's API tokens.

mod problems;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};

use super::answer::{private_headers, private_json};
use super::app::App;
use super::attributes::{filled_text, rooted};
use super::caller::{ApiTokenHolder, Authenticated, TokenAdmin};
use super::json_body::JsonObject;
use super::page::{Page, PageQuery};
use super::problem::Problem;
use crate::secret::Secret;
use crate::service::api_tokens::{ApiToken, TokenId};
use crate::service::events::{Event, EventKind, TokenNote};
use crate::wire::tokens::{BearerAnswer, Token, TokenAnswer, TokensAnswer};

/// `POST /v1/tokens/exchange`: a bearer for an hour.
pub(super) async fn exchange(
    State(app): State<Arc<App>>,
    ApiTokenHolder(caller): ApiTokenHolder,
    _body: JsonObject,
) -> Result<Response, Problem> {
    let now = app.service.clock.now();
    let bearer = app.service.bearers.mint(caller, now, rand::random());
    let token = bearer.reveal().to_owned();
    Ok(private_json(StatusCode::OK, &BearerAnswer { token }))
}

/// `GET /v1/tokens`: the caller's.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    query: PageQuery,
) -> Result<Response, Problem> {
    let tokens = app.service.api_tokens.list(caller.user).await?;
    let page = Page::of(tokens, &query)?;
    let tokens = page.items.into_iter().map(|token| wire_token(token, None));
    let answer = TokensAnswer {
        tokens: tokens.collect(),
        meta: page.meta,
    };
    Ok(private_json(StatusCode::OK, &answer))
}

/// `POST /v1/tokens`: one more.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    TokenAdmin(user): TokenAdmin,
    JsonObject(body): JsonObject,
) -> Result<Response, Problem> {
    let name = filled_text(rooted(&body, "token"), "name")?;
    let now = app.service.clock.now();
    let created = app.service.api_tokens.create_another(name, user, now);
    let (token, secret) = created.await?;
    let kind = EventKind::NewToken(note_of(&token));
    let event = Event::of_user(user, kind, now);
    app.service.events.record(event).await;
    Ok(token_answer(StatusCode::CREATED, token, &secret))
}

/// `PATCH /v1/tokens/{id}/renew`: the same token, with another secret.
pub(super) async fn renew(
    State(app): State<Arc<App>>,
    TokenAdmin(user): TokenAdmin,
    id: Result<Path<TokenId>, PathRejection>,
    _body: JsonObject,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| problems::no_such_token())?;
    let (token, secret) = app.service.api_tokens.renew(user, id).await?;
    Ok(token_answer(StatusCode::OK, token, &secret))
}

/// `DELETE /v1/tokens/{id}`: revoked, at once.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    TokenAdmin(user): TokenAdmin,
    id: Result<Path<TokenId>, PathRejection>,
) -> Result<(StatusCode, HeaderMap), Problem> {
    let Path(id) = id.map_err(|_| problems::no_such_token())?;
    let token = app.service.api_tokens.revoke_own(user, id).await?;
    let (kind, now) = (
        EventKind::DeleteToken(note_of(&token)),
        app.service.clock.now(),
    );
    let event = Event::of_user(user, kind, now);
    app.service.events.record(event).await;
    Ok((StatusCode::NO_CONTENT, private_headers()))
}

fn note_of(token: &ApiToken) -> TokenNote {
    TokenNote {
        token_name: token.name.clone(),
        token_id: token.id.to_string(),
    }
}

fn token_answer(status: StatusCode, token: ApiToken, secret: &Secret) -> Response {
    let token = wire_token(token, Some(secret));
    private_json(status, &TokenAnswer { token })
}

fn wire_token(token: ApiToken, secret: Option<&Secret>) -> Token {
    Token {
        id: token.id.to_string(),
        name: token.name,
        created_at: token.created_at,
        last_used_at: token.last_used_at,
        token: secret.map(|secret| secret.reveal().to_owned()),
    }
}
