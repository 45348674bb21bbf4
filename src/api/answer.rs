//! How an answer that is no success is put together: its form, its headers, its numbers in words.
//!
//! Which one is given for what is chosen in [`super::error`].

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytesize::ByteSize;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::Timestamp;

/// After how many seconds a client may try again what the server could not do just now.
pub(super) const RETRY_AFTER_SECONDS: u32 = 5;

/// What is needed to tell an error.
pub(super) struct Telling<'a> {
    /// The request's id.
    pub(super) request_id: &'a str,
    /// What time it is.
    pub(super) now: Timestamp,
    /// What the client can read.
    pub(super) form: ErrorForm,
}

/// How an error is written. JSON, but for the one case in which the platform writes text for who does
/// not accept JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorForm {
    /// The client accepts JSON, or does not say.
    Json,
    /// It says what it accepts, and JSON is not among it.
    Text,
}

impl ErrorForm {
    /// What a request's `Accept` asks for (RFC 9110, section 12.5.1).
    pub(super) fn accepted_by(headers: &HeaderMap) -> Self {
        let mut ranges = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|range| range.split(';').next().unwrap_or_default().trim())
            .peekable();
        let takes_json =
            |range: &str| matches!(range, "*/*" | "application/*" | "application/json");
        if ranges.peek().is_none() || ranges.any(takes_json) {
            Self::Json
        } else {
            Self::Text
        }
    }
}

/// Status, body and headers of an answer.
pub(super) struct Answer {
    status: StatusCode,
    body: Value,
    headers: HeaderMap,
}

impl Answer {
    pub(super) fn new(status: StatusCode, body: Value) -> Self {
        Self {
            status,
            body,
            headers: HeaderMap::new(),
        }
    }

    /// `{"error":"…"}`.
    pub(super) fn error(status: StatusCode, text: impl Into<String>) -> Self {
        Self::new(status, json!({ "error": text.into() }))
    }

    /// `{"error":"…","code":"…"}`.
    pub(super) fn coded(status: StatusCode, code: &str, text: impl Into<String>) -> Self {
        Self::new(status, json!({ "error": text.into(), "code": code }))
    }

    /// `{"resource":"source","error":"…"}`.
    pub(super) fn not_found(text: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            json!({ "resource": "source", "error": text }),
        )
    }

    pub(super) fn unauthorized(text: &str) -> Self {
        Self::error(StatusCode::UNAUTHORIZED, text).with(WWW_AUTHENTICATE, "Bearer")
    }

    /// The API token that was to be exchanged is none: as for a bearer, but by another scheme.
    pub(super) fn not_exchanged(text: &str) -> Self {
        Self::error(StatusCode::UNAUTHORIZED, text)
            .with(WWW_AUTHENTICATE, "Basic realm=\"waystation\"")
    }

    /// Our fault: the cause is only in the log, under the request's id.
    pub(super) fn internal(telling: &Telling<'_>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            json!({ "error": "Internal error", "request_id": telling.request_id }),
        )
    }

    pub(super) fn wrong_attribute(attribute: &str, problem: &str) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            json!({ "errors": { attribute: [problem] } }),
        )
    }

    pub(super) fn unavailable(text: impl Into<String>) -> Self {
        Self::error(StatusCode::SERVICE_UNAVAILABLE, text)
            .with(RETRY_AFTER, &RETRY_AFTER_SECONDS.to_string())
    }

    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("header values made here are ASCII");
        self.headers.insert(name, value);
        self
    }

    pub(super) fn into_response(self) -> Response {
        json_response(self.status, self.headers, &self.body)
    }
}

/// A JSON answer.
pub(crate) fn json_response(
    status: StatusCode,
    headers: HeaderMap,
    body: &impl Serialize,
) -> Response {
    let text = serde_json::to_string(body).expect("answers are plain structs with text keys");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// Whole seconds, rounded up: whoever waits that long has waited long enough.
pub(super) fn ceil_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// A size as people say it and as machines count it: `1.0 GiB (1073741824 bytes)`.
pub(super) fn size_text(bytes: u64) -> String {
    format!("{} ({bytes} bytes)", ByteSize::b(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_for_people_and_machines() {
        assert_eq!(size_text(1 << 30), "1.0 GiB (1073741824 bytes)");
    }

    #[test]
    fn seconds_are_rounded_up() {
        for (ms, seconds) in [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2)] {
            assert_eq!(ceil_seconds(Duration::from_millis(ms)), seconds);
        }
    }

    #[test]
    fn json_is_told_to_who_accepts_it_or_does_not_say() {
        for (accept, form) in [
            (None, ErrorForm::Json),
            (Some("*/*"), ErrorForm::Json),
            (Some("text/html, application/json;q=0.1"), ErrorForm::Json),
            (Some("application/*"), ErrorForm::Json),
            (Some("text/plain"), ErrorForm::Text),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(ErrorForm::accepted_by(&headers), form, "{accept:?}");
        }
    }
}
