//! Every status and error body, in one exhaustive match. What is told here is for the client: what
//! happened, with the numbers, and what to do; nothing internal. The log gets the chain of causes.
//!
//! A handler returns an [`ApiError`]; as a response that is only a marker, which
//! [`super::envelope`] turns into the answer by [`ApiError::render`], since only there the request's
//! id is known.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::answer::{Answer, ErrorForm, RETRY_AFTER_SECONDS, Telling, ceil_seconds, size_text};
use crate::clock::Timestamp;
use crate::digest::DigestMismatch;
use crate::grant::GrantError;
use crate::limits::{TooMany, TooManyTransfers};
use crate::pace::TooSlow;
use crate::service::account::MAX_NAME_BYTES;
use crate::service::accounts::{AccountError, MAX_TOKENS};
use crate::service::sources::SourceError;
use crate::store::StoreError;

/// All that a client who called too often is told, as the platform words it.
const RETRY_LATER: &str = "Retry later";

/// All that a request can be answered with besides success.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// No route has this path.
    #[error("unknown route")]
    UnknownRoute,
    /// The route has no such method.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// A head that another program may read otherwise.
    #[error("an unclear head: {problem}")]
    UnclearHead {
        /// What is unclear.
        problem: &'static str,
    },
    /// A head over the limit.
    #[error("a head of more than {limit_bytes} bytes")]
    HeadTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The path names no source.
    #[error("not a source id")]
    NotASourceId,
    /// Who calls could not be told.
    #[error("denied")]
    Denied(#[from] Denied),
    /// Called too often.
    #[error("called too often")]
    TooMany(#[from] TooMany),
    /// Too many transfers of one address.
    #[error("too many transfers of one address")]
    TooManyTransfers(#[from] TooManyTransfers),
    /// The path names no API token of the caller.
    #[error("no such API token")]
    NoSuchToken,
    /// An attribute of what was sent is wrong or missing.
    #[error("the attribute {attribute} is wrong: {problem}")]
    WrongAttribute {
        /// Which.
        attribute: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Accounts could not be read.
    #[error("the accounts failed")]
    Accounts(#[from] AccountError),
    /// The body of a call to the API is not a JSON object.
    #[error("the body is no JSON object")]
    NotJson {
        /// What is wrong with it.
        problem: String,
    },
    /// The body of a call to the API is too large.
    #[error("the body is larger than {limit_bytes} bytes")]
    BodyTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The body of a call to the API did not come in time.
    #[error("the body did not come within {timeout_seconds} s")]
    BodyTooSlow {
        /// The limit.
        timeout_seconds: f64,
    },
    /// The body of a call to the API ended before all of it had come.
    #[error("the body ended early")]
    BodyEndedEarly,
    /// The token in the URL does not open it.
    #[error("the grant was refused")]
    Grant(#[from] GrantError),
    /// A header with a digest cannot be read.
    #[error("the header {header} is malformed: {problem}")]
    BadDigestHeader {
        /// Which header.
        header: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A part of an archive was sent.
    #[error("a partial upload was sent")]
    PartialUpload,
    /// A range that the archive does not have.
    #[error("the range cannot be satisfied")]
    UnsatisfiableRange {
        /// How long the archive is.
        size_bytes: u64,
    },
    /// `If-Match` or `If-Unmodified-Since` does not hold.
    #[error("a precondition failed")]
    PreconditionFailed,
    /// A use case failed.
    #[error("the source failed")]
    Source(#[from] SourceError),
    /// A handler panicked; the log has where.
    #[error("a handler panicked")]
    Panicked,
}

/// Why it cannot be told who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    /// There is no bearer.
    #[error("no bearer was sent")]
    BearerMissing,
    /// The bearer has not the form of one.
    #[error("the bearer is malformed")]
    BearerMalformed,
    /// The bearer is none that exists.
    #[error("the bearer is unknown")]
    BearerUnknown,
    /// The bearer was good until a while ago.
    #[error("the bearer expired at {expired_at}")]
    BearerExpired {
        /// When that was.
        expired_at: Timestamp,
    },
    /// There is no API token to exchange.
    #[error("no API token was sent")]
    ApiTokenMissing,
    /// What was sent to be exchanged has not the form of an API token.
    #[error("the API token is malformed")]
    ApiTokenMalformed,
    /// What was sent to be exchanged is no API token that exists.
    #[error("the API token is unknown")]
    ApiTokenUnknown,
}

impl ApiError {
    /// The answer to the client.
    pub(super) fn render(&self, telling: &Telling<'_>) -> Response {
        let mut response = self.answer(telling).into_response();
        if matches!(self, Self::TooMany(_)) && telling.form == ErrorForm::Text {
            *response.body_mut() = Body::from(RETRY_LATER);
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, text);
        }
        response
    }

    fn answer(&self, telling: &Telling<'_>) -> Answer {
        match self {
            Self::UnknownRoute => Answer::not_found(
                "there is nothing at this path; sources are made with POST /v1/sources",
            ),
            Self::NotASourceId => Answer::not_found(
                "the path names no source: its id is a UUID, as in the link that was handed out",
            ),
            Self::MethodNotAllowed => Answer::error(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not take this method; the Allow header lists those it takes",
            ),
            Self::UnclearHead { problem } => {
                Answer::error(StatusCode::BAD_REQUEST, *problem).with(CONNECTION, "close")
            }
            Self::HeadTooLarge { limit_bytes } => Answer::error(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                format!("the head of the request is larger than the limit of {limit_bytes} bytes"),
            ),
            Self::Denied(denied) => denied_answer(denied, telling),
            Self::TooMany(too_many) => {
                Answer::coded(StatusCode::TOO_MANY_REQUESTS, "rate_limited", RETRY_LATER)
                    .with(RETRY_AFTER, &ceil_seconds(too_many.retry_after).to_string())
            }
            Self::TooManyTransfers(TooManyTransfers { limit }) => Answer::unavailable(format!(
                "{limit} transfers of your address are under way, which is the limit for one; try again in {RETRY_AFTER_SECONDS} s"
            )),
            Self::NoSuchToken => Answer::new(
                StatusCode::NOT_FOUND,
                json!({ "resource": "token", "error": "there is no such API token" }),
            ),
            Self::WrongAttribute { attribute, problem } => {
                Answer::wrong_attribute(attribute, problem)
            }
            Self::Accounts(AccountError::BadName { .. }) => Answer::wrong_attribute(
                "name",
                &format!("has 1 to {MAX_NAME_BYTES} bytes and no control characters"),
            ),
            Self::Accounts(AccountError::TooManyTokens) => Answer::wrong_attribute(
                "base",
                &format!("you have {MAX_TOKENS} API tokens, which is the limit; delete one first"),
            ),
            Self::Accounts(AccountError::UnknownTokenId { .. }) => {
                Self::NoSuchToken.answer(telling)
            }
            Self::Accounts(AccountError::UnknownUserId { .. }) => {
                denied_answer(&Denied::BearerUnknown, telling)
            }
            Self::NotJson { problem } => Answer::error(
                StatusCode::BAD_REQUEST,
                format!("There was a problem in the JSON you submitted: {problem}"),
            ),
            Self::BodyTooLarge { limit_bytes } => Answer::error(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the body is larger than the limit of {}",
                    size_text(*limit_bytes)
                ),
            ),
            Self::BodyTooSlow { timeout_seconds } => Answer::error(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not come within {timeout_seconds} s"),
            ),
            Self::BodyEndedEarly => {
                Answer::error(StatusCode::BAD_REQUEST, "the body broke off before its end")
            }
            Self::Grant(error) => grant_answer(error, telling),
            Self::BadDigestHeader { header, problem } => Answer::coded(
                StatusCode::BAD_REQUEST,
                "invalid_digest",
                format!("the header {header} cannot be read: {problem}"),
            ),
            Self::PartialUpload => Answer::error(
                StatusCode::BAD_REQUEST,
                "this is a part of an archive (Content-Range), and only whole ones are taken; send all of it",
            ),
            Self::UnsatisfiableRange { size_bytes } => Answer::error(
                StatusCode::RANGE_NOT_SATISFIABLE,
                format!(
                    "the archive has {size_bytes} bytes, and the range asked for is not one of them"
                ),
            )
            .with(CONTENT_RANGE, &format!("bytes */{size_bytes}")),
            Self::PreconditionFailed => Answer::error(
                StatusCode::PRECONDITION_FAILED,
                "the archive is not the one that If-Match or If-Unmodified-Since asks for",
            ),
            Self::Source(error) => source_answer(error, telling),
            Self::Accounts(AccountError::Store(error)) => store_answer(error, telling),
            Self::Accounts(
                AccountError::Corrupt { .. }
                | AccountError::TokenExists { .. }
                | AccountError::NoRandomness(_)
                | AccountError::BadEmail { .. }
                | AccountError::UserExists { .. }
                | AccountError::UnknownUser { .. },
            )
            | Self::Panicked => Answer::internal(telling),
        }
    }
}

fn denied_answer(denied: &Denied, telling: &Telling<'_>) -> Answer {
    match denied {
        Denied::BearerMissing => Answer::unauthorized(
            "the bearer is missing: send an API token as 'Authorization: Bearer <token>'",
        ),
        Denied::BearerMalformed => Answer::unauthorized(
            "the bearer is malformed: it is an API token ('tk-us-' and 48 characters), or the JWT that one was exchanged for",
        ),
        Denied::BearerUnknown => Answer::unauthorized(
            "the bearer is unknown: it was not given out by this service, or has been revoked",
        ),
        Denied::BearerExpired { expired_at } => Answer::unauthorized(&format!(
            "the bearer is expired, since {expired_at} (now {}): exchange the API token for a new one",
            telling.now
        )),
        Denied::ApiTokenMissing => Answer::not_exchanged(
            "the API token is missing: send it as the password of Basic authentication, with an empty user",
        ),
        Denied::ApiTokenMalformed => {
            Answer::not_exchanged("the API token is malformed: it is 'tk-us-' and 48 characters")
        }
        Denied::ApiTokenUnknown => Answer::not_exchanged(
            "the API token is unknown: it was never given out, or has been revoked",
        ),
    }
}

fn grant_answer(error: &GrantError, telling: &Telling<'_>) -> Answer {
    match error {
        GrantError::InvalidToken => Answer::coded(
            StatusCode::FORBIDDEN,
            "invalid_token",
            "the token of this URL is missing or not valid for this: use the link as it was handed out (upload_url for PUT, download_url for GET)",
        ),
        GrantError::Expired { expired_at } => expired_answer(*expired_at, telling),
    }
}

fn expired_answer(expired_at: Timestamp, telling: &Telling<'_>) -> Answer {
    Answer::new(
        StatusCode::GONE,
        json!({
            "error": format!(
                "this link expired at {expired_at} (now {}); create a new source",
                telling.now
            ),
            "code": "expired",
            "expired_at": expired_at,
        }),
    )
}

fn source_answer(error: &SourceError, telling: &Telling<'_>) -> Answer {
    match error {
        SourceError::TooLarge {
            limit_bytes,
            size_bytes,
        } => Answer::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            too_large_text(*limit_bytes, *size_bytes),
        ),
        SourceError::Busy { limit } => Answer::unavailable(format!(
            "{limit} transfers are under way, which is the limit; try again in {RETRY_AFTER_SECONDS} s"
        )),
        SourceError::AlreadyUploaded { first } => Answer::coded(
            StatusCode::CONFLICT,
            "already_uploaded",
            format!(
                "another archive was uploaded to this source at {} ({} bytes, SHA-256 {}), and it stays; create a new source for this one",
                first.uploaded_at, first.size_bytes, first.sha256
            ),
        ),
        SourceError::DigestMismatch(mismatch) => mismatch_answer(mismatch),
        SourceError::EndedEarly {
            received_bytes,
            announced_bytes,
        } => Answer::error(
            StatusCode::BAD_REQUEST,
            ended_early_text(*received_bytes, *announced_bytes),
        ),
        SourceError::TooSlow {
            received_bytes,
            pace,
        } => Answer::error(
            StatusCode::REQUEST_TIMEOUT,
            too_slow_text(*received_bytes, pace),
        ),
        SourceError::Expired { expired_at } => expired_answer(*expired_at, telling),
        SourceError::NothingUploaded => {
            Answer::not_found("nothing has been uploaded to this source yet")
        }
        SourceError::Store(error) => store_answer(error, telling),
    }
}

fn store_answer(error: &StoreError, telling: &Telling<'_>) -> Answer {
    match error {
        StoreError::NoRoom {
            free_bytes,
            keep_free_bytes,
        } => Answer::coded(
            StatusCode::INSUFFICIENT_STORAGE,
            "store_full",
            format!(
                "the store has no room for this archive: {} are free, of which {} are kept free; room comes back as sources expire",
                size_text(*free_bytes),
                size_text(*keep_free_bytes)
            ),
        ),
        StoreError::Ending => Answer::unavailable("the server is ending; try again"),
        StoreError::Unreachable { .. } | StoreError::Contended => Answer::unavailable(format!(
            "the store cannot be reached just now; try again in {RETRY_AFTER_SECONDS} s"
        )),
        StoreError::Io { .. }
        | StoreError::Corrupt { .. }
        | StoreError::InUse { .. }
        | StoreError::Bucket { .. }
        | StoreError::Endpoint { .. }
        | StoreError::NoConditionalWrites { .. }
        | StoreError::RecordTooLong { .. } => Answer::internal(telling),
    }
}

fn mismatch_answer(mismatch: &DigestMismatch) -> Answer {
    Answer::coded(
        StatusCode::BAD_REQUEST,
        "digest_mismatch",
        format!("{mismatch}; nothing was stored, send it again"),
    )
}

fn too_large_text(limit_bytes: u64, size_bytes: Option<u64>) -> String {
    let limit = size_text(limit_bytes);
    let size = size_bytes.map_or_else(
        || "the archive is larger".to_owned(),
        |size_bytes| format!("the archive has {}, more", size_text(size_bytes)),
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

fn too_slow_text(received_bytes: u64, pace: &TooSlow) -> String {
    format!(
        "the upload was too slow: {pace}, after {received_bytes} bytes in all; nothing was stored, send it again"
    )
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_is_too_large_is_told_with_both_sizes() {
        assert_eq!(
            too_large_text(1024, Some(1025)),
            "the archive has 1.0 KiB (1025 bytes), more than the limit of 1.0 KiB (1024 bytes); the server's --upload-limit sets it"
        );
    }
}
