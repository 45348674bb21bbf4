//! `GET` and `HEAD` at a download link.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, StreamExt};
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::conditions::{Selection, etag_text, last_modified_text, select};
use super::digest_headers::repr_digest;
use super::link::{CanDownload, TransferPermit};
use crate::api::answer::{private_headers, set_header};
use crate::api::app::App;
use crate::api::problem::Problem;
use crate::file_sender::FileSender;
use crate::limits::Permit;
use crate::service::sources::Slot;
use crate::source::{Facts, SourceId};
use crate::store::{Download, Piece, StoreError};

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// `GET`, `HEAD /v1/sources/{source}?token=…`: serves the archive.
pub(in crate::api) async fn download(
    State(app): State<Arc<App>>,
    CanDownload(grant): CanDownload,
    TransferPermit(permit): TransferPermit,
    sender: Option<Extension<FileSender>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let source = grant.source();
    let (archive, slot) = app.service.sources.open(grant).await?;
    let request = DownloadRequest {
        method: &method,
        headers: &headers,
        sender,
    };
    serve(source, archive, (slot, permit), request)
}

/// What a client asks of an archive.
pub(in crate::api) struct DownloadRequest<'a> {
    pub(in crate::api) method: &'a Method,
    pub(in crate::api) headers: &'a HeaderMap,
    pub(in crate::api) sender: Option<Extension<FileSender>>,
}

/// Serves an archive, for as long as that takes.
pub(in crate::api) fn serve(
    source: SourceId,
    archive: Download,
    running: (Slot, Option<Permit>),
    request: DownloadRequest<'_>,
) -> Result<Response, Problem> {
    let facts = *archive.facts();
    let (status, range) = match select(request.method, request.headers, &facts)? {
        Selection::NotModified => return Ok(not_modified(&facts)),
        Selection::Whole => (StatusCode::OK, 0..facts.size_bytes),
        Selection::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
    };
    let mut sent = archive_headers(source, &facts);
    let length = range.end - range.start;
    set_header(&mut sent, CONTENT_LENGTH, &length.to_string());
    if status == StatusCode::PARTIAL_CONTENT {
        let (first, last) = (range.start, range.end - 1);
        let part = format!("bytes {first}-{last}/{}", facts.size_bytes);
        set_header(&mut sent, CONTENT_RANGE, &part);
    }
    let body = if request.method == Method::HEAD {
        Body::empty()
    } else {
        body_of(archive, range, running, request.sender)
    };
    Ok((status, sent, body).into_response())
}

/// The bytes of `range`, which the connection sends by itself as far as it offers to.
fn body_of(
    archive: Download,
    range: Range<u64>,
    running: (Slot, Option<Permit>),
    sender: Option<Extension<FileSender>>,
) -> Body {
    let Some(Extension(FileSender(sender))) = sender else {
        return Body::from_stream(while_running(running, archive.into_stream(range)));
    };
    let pieces = while_running(running, archive.into_pieces(range));
    Body::from_stream(pieces.map(move |piece| match piece? {
        Piece::Bytes(bytes) => Ok(bytes),
        Piece::InFile(part) => Ok::<_, StoreError>(sender.enqueue(part)),
    }))
}

/// The stream, and what counts as running until it is dropped.
fn while_running<S: Stream>(
    running: impl Send + 'static,
    stream: S,
) -> impl Stream<Item = S::Item> {
    stream.inspect(move |_| {
        let _running = &running;
    })
}

/// The length is that of the archive, as RFC 9110 (section 8.6) demands of one that is given here;
/// without it, the router would give 0.
fn not_modified(facts: &Facts) -> Response {
    let mut headers = private_headers();
    set_header(&mut headers, CONTENT_LENGTH, &facts.size_bytes.to_string());
    set_header(&mut headers, ETAG, &etag_text(facts));
    set_header(&mut headers, LAST_MODIFIED, &last_modified_text(facts));
    (StatusCode::NOT_MODIFIED, headers).into_response()
}

/// What goes with an archive, whole or in part. There is never a `Content-Encoding`: clients would
/// unpack the archive behind their user's back.
fn archive_headers(source: SourceId, facts: &Facts) -> HeaderMap {
    let mut headers = private_headers();
    let extension = facts.media_type.extension();
    set_header(&mut headers, CONTENT_TYPE, facts.media_type.name());
    set_header(&mut headers, ETAG, &etag_text(facts));
    set_header(&mut headers, REPR_DIGEST, &repr_digest(facts.sha256));
    set_header(&mut headers, LAST_MODIFIED, &last_modified_text(facts));
    set_header(&mut headers, ACCEPT_RANGES, "bytes");
    // Uploaded HTML must not run in this origin.
    let disposition = format!("attachment; filename=\"{source}{extension}\"");
    set_header(&mut headers, CONTENT_DISPOSITION, &disposition);
    set_header(&mut headers, X_CONTENT_TYPE_OPTIONS, "nosniff");
    headers
}
