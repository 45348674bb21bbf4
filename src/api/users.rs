//! The resource `user`: what the platform's clients ask first.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::answer::private_json;
use super::app::App;
use super::caller::{AuthError, Authenticated};
use super::problem::Problem;
use crate::service::users::{User as Record, UserId};
use crate::wire::users::{Flags, User, UserAnswer, UserReference};

/// `GET /v1/users/self`: the caller.
pub(super) async fn show_self(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
) -> Result<Response, Problem> {
    let user = find(&app, caller.user).await?;
    let user = User {
        id: user.id.to_string(),
        uuid: user.id.to_string(),
        username: user.name.clone(),
        email: user.email,
        fullname: user.name,
        created_at: user.created_at,
        flags: Flags {},
    };
    Ok(private_json(StatusCode::OK, &UserAnswer { user }))
}

/// The caller, as the owner of a resource.
pub(super) async fn reference_of(app: &App, id: UserId) -> Result<UserReference, Problem> {
    let user = find(app, id).await?;
    Ok(UserReference {
        id: user.id.to_string(),
        username: user.name,
        email: user.email,
    })
}

async fn find(app: &App, id: UserId) -> Result<Record, Problem> {
    let found = app.service.users.get(id).await?;
    Ok(found.ok_or(AuthError::BearerUnknown)?)
}
