//! The log of a deployment, as far as there is any.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, StatusCode};

use super::problems::log_range_not_satisfiable;
use super::{App, Problem, find};
use crate::api::answer::{private_headers, set_header};
use crate::api::apps::OwnApp;
use crate::api::range::{NotSatisfiable, range_of};
use crate::deployment::DeploymentId;
use crate::store::StoreError;

/// How much is read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// `GET /v1/apps/{app}/deployments/{deployment}/output`.
pub(in crate::api) async fn show_log(
    State(app): State<Arc<App>>,
    OwnApp(record): OwnApp,
    Path((_, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let deployment = find(&app, &record, &id).await?;
    let length = app.service.deployments.log_bytes(&deployment).await?;
    let mut sent = private_headers();
    set_header(&mut sent, CONTENT_TYPE, "text/plain; charset=utf-8");
    // What a build prints must not run in this origin.
    set_header(&mut sent, X_CONTENT_TYPE_OPTIONS, "nosniff");
    set_header(&mut sent, ACCEPT_RANGES, "bytes");
    let (status, range) = match range_of(&headers, length) {
        Ok(None) => (StatusCode::OK, 0..length),
        Ok(Some(range)) => {
            let (first, last) = (range.start, range.end - 1);
            let part = format!("bytes {first}-{last}/{length}");
            set_header(&mut sent, CONTENT_RANGE, &part);
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Err(NotSatisfiable) => return Err(log_range_not_satisfiable(length)),
    };
    let announced = range.end - range.start;
    set_header(&mut sent, CONTENT_LENGTH, &announced.to_string());
    let body = Body::from_stream(pieces(app, deployment.id, range));
    Ok((status, sent, body).into_response())
}

fn pieces(
    app: Arc<App>,
    id: DeploymentId,
    range: Range<u64>,
) -> impl Stream<Item = Result<Bytes, StoreError>> {
    stream::try_unfold((app, range), move |(app, mut left)| async move {
        let limit = usize::try_from(left.end - left.start).unwrap_or(usize::MAX);
        if limit == 0 {
            return Ok(None);
        }
        let read = app
            .service
            .deployments
            .read_log(id, left.start, limit.min(PIECE_BYTES));
        let piece = read.await?;
        left.start += piece.len() as u64;
        if piece.is_empty() {
            // Its log was deleted meanwhile: the body breaks off, as its length then says.
            left.start = left.end;
        }
        Ok(Some((piece, (app, left))))
    })
}
