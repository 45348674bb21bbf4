//! What a link of a runner allows: the grant in its path, checked before a handler runs.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use crate::api::app::App;
use crate::api::problem::Problem;
use crate::grant::{FetchGrant, ReportGrant};

/// The URL is the report link of an attempt.
pub(in crate::api) struct CanReport(pub(super) ReportGrant);

impl FromRequestParts<Arc<App>> for CanReport {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let grant = grant_in(parts, app).await;
        Ok(Self(app.service.sources.keys().verify_report(&grant)?))
    }
}

/// The URL leads to the archive of an attempt.
pub(in crate::api) struct CanFetch(pub(super) FetchGrant);

impl FromRequestParts<Arc<App>> for CanFetch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let grant = grant_in(parts, app).await;
        Ok(Self(app.service.sources.keys().verify_fetch(&grant)?))
    }
}

/// A segment of the path; nothing, which no key verifies, if it is no text.
async fn grant_in(parts: &mut Parts, app: &Arc<App>) -> String {
    let path = Path::<String>::from_request_parts(parts, app).await;
    path.map(|Path(grant)| grant).unwrap_or_default()
}
