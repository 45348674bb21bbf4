//! The description of the API itself.

use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::answer::private_json;
use super::client::LinkBase;
use crate::wire::openapi::description;

/// `GET /openapi.json`: the description, with the requested URL as its server.
pub(super) async fn describe(LinkBase(base): LinkBase) -> Response {
    let mut answer = description().clone();
    let servers = json!([{ "url": base.to_string() }]);
    answer.insert("servers".to_owned(), servers);
    private_json(StatusCode::OK, &answer)
}
