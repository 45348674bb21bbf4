//! `PUT` at an upload link.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use axum::body::Body;
use axum::extract::{FromRequestParts as _, Request};
use axum::response::Response;
use futures_util::stream::{self, Stream};
use http::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, StatusCode};
use hyper::body::Body as _;

use super::conditions::Preconditions;
use super::digest_headers::{expected_digests, trailing_algorithms};
use super::link::{CanUpload, TransferPermit};
use super::problems::{partial_upload, unknown_resumption, wrapped_upload};
use super::resumable::number_in;
use super::upload_headers::{UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_OFFSET, completes};
use crate::api::answer::private_json;
use crate::api::app::App;
use crate::api::problem::Problem;
use crate::service::sources::body::{BrokenBody, Sent};
use crate::service::sources::receive::Announced;
use crate::source::{Facts, SourceId};
use crate::wire::sources::{UploadAnswer, UploadReport};

/// `PUT /v1/sources/{source}?token=…`: takes the archive, and reports it.
pub(super) async fn upload(app: Arc<App>, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let CanUpload(grant) = CanUpload::from_request_parts(&mut parts, &app).await?;
    let TransferPermit(_permit) = TransferPermit::from_request_parts(&mut parts, &app).await?;
    let preconditions = Preconditions::of(&parts.headers);
    let announced = Announced {
        size_bytes: body.size_hint().exact(),
        total_bytes: total_of(&parts.headers)?,
        expected: expected_digests(&parts.headers)?,
        trailing: trailing_algorithms(&parts.headers),
        precondition: Box::new(move |stored| preconditions.allow_upload(stored)),
    };
    check_bare(&parts.headers)?;
    check_whole(&parts.headers, announced.size_bytes)?;
    // During the upload, the head would keep the buffer alive that it was read into.
    drop(parts);
    let source = grant.source();
    let facts = app
        .service
        .sources
        .receive(grant, announced, pieces_of(body))
        .await?;
    Ok(report(source, &facts))
}

/// How long the archive is, as who sends all of it at once by the draft on resumable uploads says. To others the header
/// means nothing.
fn total_of(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    if completes(headers) {
        number_in(headers, &UPLOAD_LENGTH)
    } else {
        Ok(None)
    }
}

/// What is said of an archive that has been uploaded.
pub(super) fn report(source: SourceId, facts: &Facts) -> Response {
    let upload = UploadReport {
        size: facts.size_bytes,
        sha256: facts.sha256.to_string(),
        media_type: facts.media_type,
        uploaded_at: facts.uploaded_at,
        expires_at: source.expires_at(),
    };
    private_json(StatusCode::OK, &UploadAnswer { upload })
}

/// The bytes of a body, and the digests in its trailers.
pub(super) fn pieces_of(
    mut body: Body,
) -> impl Stream<Item = Result<Sent, BrokenBody>> + Unpin + use<> {
    stream::poll_fn(move |cx| {
        let frame = ready!(Pin::new(&mut body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            // That the client's body ended early is all that can go wrong with it.
            let frame = frame.map_err(|_| BrokenBody::EndedEarly)?;
            let trailers = match frame.into_data() {
                Ok(bytes) => return Ok(Sent::Bytes(bytes)),
                Err(frame) => frame.into_trailers().unwrap_or_default(),
            };
            let digests = expected_digests(&trailers);
            digests
                .map(Sent::Digests)
                .map_err(BrokenBody::InvalidDigest)
        }))
    })
}

/// Codings that nobody would undo at a download. An archive that is labelled as what it is, with gzip or zstd,
/// is taken as it is.
const WRAPPINGS: [&str; 3] = ["aws-chunked", "deflate", "br"];

/// Refuses what is not the archive itself. Any other type is taken: many clients send a wrong one.
pub(super) fn check_bare(headers: &HeaderMap) -> Result<(), Problem> {
    let words = |name: HeaderName, end: char| {
        let values = headers.get_all(name).into_iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        texts
            .flat_map(move |text| text.split(end))
            .map(|word| word.trim().to_ascii_lowercase())
    };
    let is_form = |word: &String| word == "multipart/form-data";
    let is_wrapping = |word: &String| WRAPPINGS.contains(&word.as_str());
    let form = words(CONTENT_TYPE, ';').find(is_form);
    match form.or_else(|| words(CONTENT_ENCODING, ',').find(is_wrapping)) {
        Some(wrapping) => Err(wrapped_upload(&wrapping)),
        // Clients of S3 that sign each chunk do not always name the coding.
        None if headers.contains_key("x-amz-decoded-content-length") => {
            Err(wrapped_upload("aws-chunked"))
        }
        None => Ok(()),
    }
}

/// Refuses what says that it is not the first part of an archive.
pub(super) fn check_first(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(CONTENT_RANGE) {
        return Err(partial_upload());
    }
    let mut offsets = headers.get_all(UPLOAD_OFFSET).iter();
    if offsets.any(|offset| offset != "0") {
        return Err(unknown_resumption(&UPLOAD_OFFSET));
    }
    Ok(())
}

/// Headers by which resumable uploads are continued, each with the value that means "this is all of it".
/// `Tus-Resumable` has none.
const RESUMPTION: [(HeaderName, Option<&str>); 4] = [
    (UPLOAD_COMPLETE, Some("?1")),
    (HeaderName::from_static("upload-incomplete"), Some("?0")),
    (UPLOAD_OFFSET, Some("0")),
    (HeaderName::from_static("tus-resumable"), None),
];

/// Refuses a part of an archive: to store it as if it were whole would be a corrupt archive with a
/// correct digest (RFC 9110, section 14.4). A "part" that is all of it is what some clients send.
fn check_whole(headers: &HeaderMap, size_bytes: Option<u64>) -> Result<(), Problem> {
    if let Some(range) = headers.get(CONTENT_RANGE) {
        let is_whole = size_bytes.is_some_and(|size| {
            let last = size.saturating_sub(1);
            range == format!("bytes 0-{last}/{size}").as_str()
        });
        if !is_whole {
            return Err(partial_upload());
        }
    }
    let partial = RESUMPTION.into_iter().find(|(name, whole)| {
        let mut values = headers.get_all(name).iter();
        values.any(|value| whole.is_none_or(|whole| value != whole))
    });
    match partial {
        Some((name, _)) => Err(unknown_resumption(&name)),
        None => Ok(()),
    }
}
