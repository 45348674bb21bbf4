//! The resource `source`: its creation by the holder of a bearer, its archive by the holder of a link.

pub mod conditions;
mod dialects;
pub mod digest_headers;
mod download;
mod draft;
mod link;
mod problems;
mod resumable;
mod tus;
mod upload;
mod upload_headers;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::answer::private_json;
use super::app::App;
use super::caller::Authenticated;
use super::client::LinkBase;
use super::json_body::JsonObject;
use super::problem::Problem;
use crate::wire::sources::{SourceAnswer, SourceLinks};

pub(super) use dialects::{append, begin, cancel, look, options};
pub(super) use download::{DownloadRequest, download, serve};
pub(super) use link::TransferPermit;
pub use link::token_of;

/// `POST /v1/sources`: a new source's two links.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    _caller: Authenticated,
    LinkBase(base): LinkBase,
    _body: JsonObject,
) -> Result<Response, Problem> {
    let links = app.service.sources.create(&base).await?;
    let source = SourceLinks {
        upload_url: links.upload_url.reveal().to_owned(),
        download_url: links.download_url.reveal().to_owned(),
    };
    let mut response = private_json(StatusCode::CREATED, &SourceAnswer { source });
    // For the log: here the path does not say which source it is.
    response.extensions_mut().insert(links.source);
    Ok(response)
}
