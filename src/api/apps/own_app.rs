//! The caller's application that a path names, looked up before a handler runs.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;

use super::problems::no_such_app;
use crate::api::app::App;
use crate::api::caller::{Authenticated, UncountedCaller};
use crate::api::problem::Problem;
use crate::service::apps::App as Record;
use crate::service::users::UserId;

/// The application of a path below `/v1/apps/{app}`, by its id or its name. It is the caller's; another's is not there.
/// The call has been counted.
pub(in crate::api) struct OwnApp(pub(in crate::api) Record);

impl FromRequestParts<Arc<App>> for OwnApp {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Authenticated(caller) = Authenticated::from_request_parts(parts, app).await?;
        find(parts, app, caller.user).await.map(Self)
    }
}

/// The same for a call that does not count: the rate limit must not break a client that follows a deployment.
pub(in crate::api) struct OwnAppUncounted(pub(in crate::api) Record);

impl FromRequestParts<Arc<App>> for OwnAppUncounted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let UncountedCaller(caller) = UncountedCaller::from_request_parts(parts, app).await?;
        find(parts, app, caller.user).await.map(Self)
    }
}

async fn find(parts: &mut Parts, app: &Arc<App>, owner: UserId) -> Result<Record, Problem> {
    let params = RawPathParams::from_request_parts(parts, app).await;
    let params = params.map_err(|_| no_such_app(""))?;
    let mut named = params.iter().filter(|(name, _)| *name == "app");
    let asked = named.next().map_or("", |(_, asked)| asked);
    Ok(app.service.apps.find(owner, asked).await?)
}
