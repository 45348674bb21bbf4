//! What the platform's clients ask before they work: who they are, and where the services are. Here
//! all of them are this one.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::App;
use super::answer::json_response;
use super::extract::{Calling, LinkBase};
use super::problem::ApiError;
use super::sources::private;

/// The name of the only region.
const REGION: &str = "waystation";

/// `GET /v1/users/self`: the caller.
pub(super) async fn show_user(
    State(app): State<Arc<App>>,
    Calling(caller): Calling,
) -> Result<Response, ApiError> {
    let user = app.accounts.user(caller.user).await?;
    Ok(json_response(
        StatusCode::OK,
        private(),
        &json!({ "user": {
            "id": user.id.to_string(),
            "uuid": user.id.as_uuid().to_string(),
            "username": user.name,
            "email": user.email,
            "fullname": user.name,
            "created_at": user.created_at,
            "flags": {},
        }}),
    ))
}

/// `GET /v1/regions`: this service.
pub(super) async fn list_regions(_caller: Calling, LinkBase(base): LinkBase) -> Response {
    let url = base.to_string();
    json_response(
        StatusCode::OK,
        private(),
        &json!({ "regions": [{
            "name": REGION,
            "display_name": "Waystation",
            "api": url,
            "dashboard": url,
            "database_api": url,
            "ssh": "",
            "default": true,
        }]}),
    )
}
