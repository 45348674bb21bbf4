//! What can go wrong with a source, as its client learns it.

use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_RANGE};
use http::{HeaderName, StatusCode};

use super::upload_headers::UPLOAD_OFFSET;
use crate::api::answer::size_text;
use crate::api::problem::Problem;
use crate::digest::InvalidDigest;
use crate::grant::GrantError;
use crate::service::sources::{AttemptsLimit, SourceError};
use crate::source::Expired;

impl From<GrantError> for Problem {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::InvalidToken => Self::new(
                StatusCode::FORBIDDEN,
                "the token of this URL is missing or not valid for this: use the link as it was handed out (upload_url for PUT, download_url for GET)",
            )
            .with_code("invalid_token"),
            GrantError::Expired(error) => expired(error),
        }
    }
}

impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::TooLarge {
                limit_bytes,
                size_bytes,
            } => Self::too_large(too_large_text(limit_bytes, size_bytes)),
            SourceError::Empty => Self::bad_request(
                "the body is empty, which is no archive; nothing was stored, and this link stays open",
            )
            .with_code("empty"),
            SourceError::Busy { limit } => Self::unavailable(format!(
                "{limit} transfers are under way, which is the limit"
            )),
            SourceError::TooManyUploads { limit } => Self::unavailable(format!(
                "{limit} uploads to this source are under way, which is the limit; only one of them can win"
            )),
            SourceError::AlreadyUploaded { first } => Self::new(
                StatusCode::CONFLICT,
                format!(
                    "another archive was uploaded to this source at {} ({} bytes, SHA-256 {}), and it stays; create a new source for this one",
                    first.uploaded_at, first.size_bytes, first.sha256
                ),
            )
            .with_code("already_uploaded"),
            SourceError::PreconditionFailed => precondition_failed(),
            SourceError::InvalidDigest(error) => error.into(),
            SourceError::DigestMismatch(mismatch) => {
                Self::bad_request(format!("{mismatch}; nothing was stored, send it again"))
                    .with_code("digest_mismatch")
            }
            SourceError::EndedEarly {
                received_bytes,
                announced_bytes,
            } => Self::bad_request(ended_early_text(received_bytes, announced_bytes)),
            SourceError::TooSlow {
                received_bytes,
                pace,
            } => Self::too_slow(format!(
                "the upload was too slow: {pace}, after {received_bytes} bytes in all; nothing was stored, send it again"
            )),
            SourceError::PartDigestMismatch(mismatch) => Self::bad_request(format!(
                "{mismatch}; nothing of this part was appended, send it again"
            ))
            .with_code("part_digest_mismatch"),
            SourceError::UnknownAttempt => Self::not_found(
                "upload",
                "there is no such upload in parts: it was cancelled, replaced by a newer one, or lost; begin a new one at the upload link",
            ),
            SourceError::WrongOffset { expected, provided } => Self::new(
                StatusCode::CONFLICT,
                format!(
                    "this part begins at {provided}, but the next one must begin at {expected}; send the bytes from there"
                ),
            )
            .with_code("wrong_offset")
            .with_type("mismatching-upload-offset")
            .with_offsets(expected, provided)
            .with(UPLOAD_OFFSET, &expected.to_string()),
            SourceError::InconsistentLength {
                first_bytes,
                then_bytes,
            } => Self::bad_request(format!(
                "the lengths disagree: {first_bytes} bytes, and now {then_bytes}; this upload has ended, begin a new one"
            ))
            .with_code("inconsistent_length")
            .with_type("inconsistent-upload-length"),
            SourceError::PartBroken { kept_bytes } => Self::bad_request(format!(
                "the part broke off; the first {kept_bytes} bytes of the archive are kept, resume from there"
            )),
            SourceError::PartTooSlow { kept_bytes, pace } => Self::too_slow(format!(
                "the part was too slow: {pace}; the first {kept_bytes} bytes of the archive are kept, resume from there"
            )),
            SourceError::Superseded => Self::new(
                StatusCode::CONFLICT,
                "a newer request resumed this upload in parts, so this one has ended",
            )
            .with_code("superseded"),
            SourceError::StillRunning => {
                Self::unavailable("an older request for this upload in parts has not ended yet")
                    .with_code("still_running")
            }
            SourceError::TooManyAttempts(AttemptsLimit::Count { limit }) => Self::unavailable(format!(
                "{limit} uploads in parts are open, which is the limit (--max-open-uploads)"
            )),
            SourceError::TooManyAttempts(AttemptsLimit::Bytes {
                limit_bytes,
                open_bytes,
            }) => Self::unavailable(format!(
                "open uploads in parts have {}, and {} are the limit (--max-open-upload-size)",
                size_text(open_bytes),
                size_text(limit_bytes)
            )),
            SourceError::Expired(error) => expired(error),
            SourceError::NothingUploaded => {
                Self::not_found("source", "nothing has been uploaded to this source yet")
            }
            SourceError::Store(error) => error.into(),
        }
    }
}

/// Tus has a status of its own for an older request that does not end.
pub(super) fn locked(problem: Problem) -> Problem {
    problem.with_status_where("still_running", StatusCode::LOCKED)
}

/// Says with what is too large how large it may be.
pub(super) fn too_large_with(problem: Problem, header: &HeaderName, limit: &str) -> Problem {
    if problem.is_too_large() {
        problem.with(header.clone(), limit)
    } else {
        problem
    }
}

/// A header of an upload in parts is missing, or cannot be read.
pub(super) fn invalid_header(header: &HeaderName, problem: &str) -> Problem {
    Problem::bad_request(format!("the header {header}: {problem}"))
}

pub(super) fn wrong_media_type(expected: &str) -> Problem {
    let text = format!("a part is sent as Content-Type: {expected}");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
}

pub(super) fn unknown_tus_version(known: &str) -> Problem {
    let text = format!("this server speaks version {known} of tus");
    Problem::new(StatusCode::PRECONDITION_FAILED, text)
}

pub(super) fn no_concatenation() -> Problem {
    Problem::bad_request(
        "uploads are not concatenated here (Upload-Concat); send one after the other to one upload",
    )
}

/// 405, where the router would not say so.
pub(super) fn method_not_taken(allowed: &'static str) -> Problem {
    Problem::method_not_allowed().with(ALLOW, allowed)
}

/// The client's address has as many transfers under way as one may have.
pub(super) fn too_many_transfers(limit: u32) -> Problem {
    Problem::unavailable(format!(
        "{limit} transfers of your address are under way, which is the limit for one"
    ))
}

fn expired(Expired { expired_at, now }: Expired) -> Problem {
    let text = format!("this link expired at {expired_at} (now {now}); create a new source");
    Problem::new(StatusCode::GONE, text)
        .with_code("expired")
        .with_expiry(expired_at)
}

impl From<InvalidDigest> for Problem {
    fn from(error: InvalidDigest) -> Self {
        Self::bad_request(error.to_string()).with_code("invalid_digest")
    }
}

pub(super) fn partial_upload() -> Problem {
    Problem::bad_request(
        "this is a part of an archive (Content-Range), and only whole archives are accepted; send all of it",
    )
}

/// A request belongs to a resumable upload.
pub(super) fn unknown_resumption(header: &HeaderName) -> Problem {
    Problem::bad_request(format!(
        "the header {header} belongs to a part of an upload, but this request is not a part; send the whole archive in one PUT, or begin an upload in parts"
    ))
}

/// What would be stored is not the archive, but something around it.
pub(super) fn wrapped_upload(wrapping: &str) -> Problem {
    let text = format!(
        "the body is wrapped ({wrapping}) and would be stored like that; send the archive itself, as 'curl -T FILE' does"
    );
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text).with(ACCEPT_ENCODING, "gzip, identity")
}

/// `If-Match` and its like do not hold.
pub(super) fn precondition_failed() -> Problem {
    let text = "the precondition failed: what is stored at this source does not match the request's If-… headers";
    Problem::new(StatusCode::PRECONDITION_FAILED, text).with_code("precondition_failed")
}

pub(super) fn range_not_satisfiable(size_bytes: u64) -> Problem {
    let text = format!("range not satisfiable: the archive is {size_bytes} bytes long");
    Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, text)
        .with(CONTENT_RANGE, &format!("bytes */{size_bytes}"))
}

fn too_large_text(limit_bytes: u64, size_bytes: Option<u64>) -> String {
    let limit = size_text(limit_bytes);
    let size = size_bytes.map_or_else(
        || "the archive is larger".to_owned(),
        |size_bytes| format!("the archive is {}, larger", size_text(size_bytes)),
    );
    format!("{size} than the limit of {limit}; the server's --upload-limit sets it")
}

fn ended_early_text(received_bytes: u64, announced_bytes: Option<u64>) -> String {
    let announced = announced_bytes.map_or_else(
        || "before its last chunk".to_owned(),
        |announced_bytes| format!("of {announced_bytes}"),
    );
    format!(
        "the body broke off after {received_bytes} bytes {announced}; nothing was stored, send it again"
    )
}
