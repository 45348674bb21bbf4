//! Every error answer: its status, its text, its headers.
//!
//! A [`Problem`] is for the client: what happened, with the numbers, and what to do; nothing internal. The
//! log gets the chain of causes. Each resource turns its own errors into problems, by an exhaustive
//! `From` in its file `problems.rs`. As a response a problem is only a marker, which [`super::envelope`]
//! renders, since only there the id of the request is known.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::answer::json_response;
use crate::clock::Timestamp;
use crate::error_chain::chain;
use crate::wire::problem::ProblemBody;

/// Seconds after which a client may retry what is temporarily unavailable.
pub(super) const RETRY_AFTER_SECONDS: u32 = 5;
/// The platform's text for too many calls, also for clients that do not accept JSON.
const RETRY_LATER: &str = "Retry later";

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const PROBLEM_TYPES: &str = "https://iana.org/assignments/http-problem-types";

/// An error answer.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    body: Box<ProblemBody>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log.
    cause: String,
}

impl Problem {
    /// `{"error":"…"}`.
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let error = text.into();
        Self {
            status,
            cause: error.clone(),
            body: Box::new(ProblemBody {
                error: Some(error),
                ..ProblemBody::default()
            }),
            headers: Vec::new(),
        }
    }

    /// 400: the request is malformed or incomplete.
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// 401: the caller is not authenticated; `scheme` is the one to use.
    pub(super) fn unauthorized(scheme: &'static str, text: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, text).with(WWW_AUTHENTICATE, scheme)
    }

    /// 404: there is no such `resource`.
    pub(super) fn not_found(resource: &'static str, text: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::NOT_FOUND, text);
        problem.body.resource = Some(resource.to_owned());
        problem
    }

    /// 404: no route has this path. Without a resource, whose name clients would show instead of the text.
    pub(super) fn unknown_route(text: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// 405: the route has no such method. The router adds `Allow`.
    pub(super) fn method_not_allowed() -> Self {
        let text =
            "this path does not support this method; the Allow header lists those it supports";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, text)
    }

    /// 408: the client was too slow.
    pub(super) fn too_slow(text: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, text)
    }

    /// 413: larger than a limit.
    pub(super) fn too_large(text: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    }

    /// 422: an attribute is wrong or missing.
    pub(super) fn wrong_attribute(attribute: &str, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Self {
            cause: format!("{attribute} {problem}"),
            body: Box::new(ProblemBody {
                errors: BTreeMap::from([(attribute.to_owned(), vec![problem])]),
                ..ProblemBody::default()
            }),
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "")
        }
    }

    /// 429: called too often.
    pub(super) fn too_many_requests(retry_after_seconds: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, RETRY_LATER)
            .with_code("rate_limited")
            .with(RETRY_AFTER, &retry_after_seconds.to_string())
    }

    /// 500: our fault. The cause is only in the log, under the id of the request.
    pub(super) fn internal(cause: &dyn Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal error").caused_by(cause)
    }

    /// 500: a handler panicked; the log has where.
    pub(super) fn panicked() -> Self {
        Self {
            cause: "a handler panicked".to_owned(),
            ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal error")
        }
    }

    /// 503: temporarily unavailable.
    pub(super) fn unavailable(text: impl AsRef<str>) -> Self {
        let text = format!("{}; try again in {RETRY_AFTER_SECONDS} s", text.as_ref());
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
            .with(RETRY_AFTER, &RETRY_AFTER_SECONDS.to_string())
    }

    pub(super) fn with_code(mut self, code: &'static str) -> Self {
        self.body.code = Some(code.to_owned());
        self
    }

    pub(super) fn with_expiry(mut self, expired_at: Timestamp) -> Self {
        self.body.expired_at = Some(expired_at);
        self
    }

    /// The problem type of RFC 9457 by which programs know it, of the registry at IANA.
    pub(super) fn with_type(mut self, name: &str) -> Self {
        self.body.problem_type = Some(format!("{PROBLEM_TYPES}#{name}"));
        self
    }

    /// Where the next part of an upload is to begin, and where the one that was sent does.
    pub(super) fn with_offsets(mut self, expected: u64, provided: u64) -> Self {
        self.body.expected_offset = Some(expected);
        self.body.provided_offset = Some(provided);
        self
    }

    /// The same with `status`, if it has this code.
    pub(super) fn with_status_where(mut self, code: &str, status: StatusCode) -> Self {
        if self.body.code.as_deref() == Some(code) {
            self.status = status;
        }
        self
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.status == StatusCode::PAYLOAD_TOO_LARGE
    }

    pub(super) fn with_log_bytes(mut self, log_bytes: u64) -> Self {
        self.body.log_bytes = Some(log_bytes);
        self
    }

    /// What it says, where only a text can be said.
    pub(super) fn text(&self) -> String {
        self.body.error.clone().unwrap_or_default()
    }

    /// May the same be tried again later?
    pub(super) fn is_for_now(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS || self.status.is_server_error()
    }

    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("header values made here are ASCII");
        self.headers.push((name, value));
        self
    }

    /// The same, with the error that the log is to name.
    pub(super) fn caused_by(self, cause: &dyn Error) -> Self {
        Self {
            cause: chain(cause),
            ..self
        }
    }

    pub(super) fn cause(&self) -> &str {
        &self.cause
    }

    /// The answer to the request of that id.
    pub fn render(&self, request_id: &str, accepts_json: bool) -> Response {
        let headers: HeaderMap = self.headers.iter().cloned().collect();
        if self.status == StatusCode::TOO_MANY_REQUESTS && !accepts_json {
            return (self.status, headers, RETRY_LATER).into_response();
        }
        let mut body = self.body.clone();
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            body.request_id = Some(request_id.to_owned());
        }
        let mut response = json_response(self.status, headers, &body);
        if body.problem_type.is_some() {
            response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}
