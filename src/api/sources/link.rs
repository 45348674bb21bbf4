//! What a link allows: the token in its query, checked before a handler runs.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use super::problems::too_many_transfers;
use crate::api::app::App;
use crate::api::client::client_of;
use crate::api::problem::Problem;
use crate::api::query::{only_value_of, values_of};
use crate::grant::{DownloadGrant, UploadGrant};
use crate::limits::Permit;
use crate::source::SourceId;
use crate::store::Attempt;

/// The URL is an upload link that is valid now.
pub(in crate::api) struct CanUpload(pub(super) UploadGrant);

impl FromRequestParts<Arc<App>> for CanUpload {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let source = source_of(parts, app).await?;
        let (keys, now) = (app.service.sources.keys(), app.service.clock.now());
        Ok(Self(keys.verify_upload(source, &token_of(parts), now)?))
    }
}

/// The URL is a download link that is valid now.
pub(in crate::api) struct CanDownload(pub(super) DownloadGrant);

impl FromRequestParts<Arc<App>> for CanDownload {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let source = source_of(parts, app).await?;
        let (keys, now) = (app.service.sources.keys(), app.service.clock.now());
        Ok(Self(keys.verify_download(source, &token_of(parts), now)?))
    }
}

async fn source_of(parts: &mut Parts, app: &Arc<App>) -> Result<SourceId, Problem> {
    let path = Path::<String>::from_request_parts(parts, app).await;
    path.ok()
        .and_then(|Path(segment)| segment.parse().ok())
        .ok_or_else(|| {
            Problem::not_found(
                "source",
                "the path names no source: its id is a UUID, as in the link that was handed out",
            )
        })
}

/// The one token of the query; nothing, which no grant accepts, if there is none or more than one.
pub fn token_of(parts: &Parts) -> String {
    only_value_of(&parts.uri, "token").unwrap_or_default()
}

/// The attempt to upload in parts that the query names: one that cannot be read is none that there is.
pub(super) fn attempt_of(parts: &Parts) -> Option<Attempt> {
    let attempts = values_of(&parts.uri, "attempt");
    Some(attempts.first()?.parse().unwrap_or_default())
}

/// A place among the transfers of the client's address, kept for as long as the transfer runs.
pub(in crate::api) struct TransferPermit(pub(in crate::api) Option<Permit>);

impl FromRequestParts<Arc<App>> for TransferPermit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let client = client_of(&parts.headers, &parts.extensions, app);
        // A proxy that does not say for whom it speaks speaks for many.
        if app.proxies.trusts(client) {
            return Ok(Self(None));
        }
        match app.transfers.acquire(client) {
            Some(permit) => Ok(Self(Some(permit))),
            None => Err(too_many_transfers(app.transfers.limit())),
        }
    }
}
