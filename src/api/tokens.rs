//! The resource `token`: API tokens of the caller, and their exchange for a bearer.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::App;
use super::answer::json_response;
use super::extract::{Calling, JsonObject, NamedToken, TokenHolder, TokenKeeper};
use super::pagination::{Page, PageQuery};
use super::problem::ApiError;
use super::sources::private;
use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::service::accounts::ListedToken;

/// An API token as the API shows it: its secret only when it is made.
#[derive(Serialize)]
struct Shown {
    id: String,
    name: String,
    created_at: Timestamp,
    last_used_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl Shown {
    fn new(listed: ListedToken, secret: Option<&Secret>) -> Self {
        Self {
            id: listed.token.id.to_string(),
            name: listed.token.name,
            created_at: listed.token.created_at,
            last_used_at: listed.last_used_at,
            token: secret.map(|secret| secret.reveal().to_owned()),
        }
    }

    fn respond(self, status: StatusCode) -> Response {
        json_response(status, private(), &json!({ "token": self }))
    }
}

/// `POST /v1/tokens/exchange`: a bearer for an hour.
pub(super) async fn exchange(
    State(app): State<Arc<App>>,
    TokenHolder(caller): TokenHolder,
    _body: JsonObject,
) -> Result<Response, ApiError> {
    let bearer = app.bearers.mint(caller, app.clock.now(), rand::random());
    Ok(json_response(
        StatusCode::OK,
        private(),
        &json!({ "token": bearer.reveal() }),
    ))
}

/// `GET /v1/tokens`: the caller's.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Calling(caller): Calling,
    query: PageQuery,
) -> Result<Response, ApiError> {
    let tokens = app.accounts.list_tokens_of(caller.user).await?;
    let page = Page::of(tokens, &query)?;
    let shown: Vec<_> = page
        .items
        .into_iter()
        .map(|listed| Shown::new(listed, None))
        .collect();
    Ok(json_response(
        StatusCode::OK,
        private(),
        &json!({ "tokens": shown, "meta": { "pagination": page.meta } }),
    ))
}

/// `POST /v1/tokens`: one more.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    TokenKeeper(user): TokenKeeper,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    let name = name_in(&body)?;
    let now = app.clock.now();
    let (token, secret) = app.accounts.create_token_of(user, name, now).await?;
    let listed = ListedToken {
        token,
        last_used_at: None,
    };
    Ok(Shown::new(listed, Some(&secret)).respond(StatusCode::CREATED))
}

/// The platform's documentation roots the attributes under `token`; its JavaScript library does not.
fn name_in(body: &Map<String, Value>) -> Result<&str, ApiError> {
    let attributes = match body.get("token") {
        Some(Value::Object(rooted)) => rooted,
        _ => body,
    };
    let wrong = |problem: &str| ApiError::WrongAttribute {
        attribute: "name",
        problem: problem.to_owned(),
    };
    match attributes.get("name") {
        Some(Value::String(name)) if name.is_empty() => Err(wrong("can't be blank")),
        Some(Value::String(name)) => Ok(name),
        Some(Value::Null) | None => Err(wrong("can't be blank")),
        Some(_) => Err(wrong("must be a text")),
    }
}

/// `PATCH /v1/tokens/{id}/renew`: the same token, with another secret.
pub(super) async fn renew(
    State(app): State<Arc<App>>,
    TokenKeeper(user): TokenKeeper,
    NamedToken(id): NamedToken,
    _body: JsonObject,
) -> Result<Response, ApiError> {
    let (listed, secret) = app.accounts.renew_token_of(user, id).await?;
    Ok(Shown::new(listed, Some(&secret)).respond(StatusCode::OK))
}

/// `DELETE /v1/tokens/{id}`: revoked, at once.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    TokenKeeper(user): TokenKeeper,
    NamedToken(id): NamedToken,
) -> Result<(StatusCode, HeaderMap), ApiError> {
    app.accounts.revoke_token_of(user, id).await?;
    Ok((StatusCode::NO_CONTENT, private()))
}
