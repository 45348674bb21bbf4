//! The description of the API itself.

use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::private_json;
use super::client::LinkBase;
use crate::wire::openapi::description;

#[derive(Serialize)]
struct Described {
    #[serde(flatten)]
    description: &'static Map<String, Value>,
    servers: [Server; 1],
}

#[derive(Serialize)]
struct Server {
    url: String,
}

/// `GET /openapi.json`: the description, with the requested URL as its server.
pub(super) async fn describe(LinkBase(base): LinkBase) -> Response {
    let url = base.to_string();
    let answer = Described {
        description: description(),
        servers: [Server { url }],
    };
    private_json(StatusCode::OK, &answer)
}
