//! How answers are put together: JSON, and the numbers in their sentences.

use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use bytesize::ByteSize;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

pub(super) fn json_response(
    status: StatusCode,
    headers: HeaderMap,
    body: &impl Serialize,
) -> Response {
    let text = serde_json::to_string(body).expect("answers are plain structs with text keys");
    let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, headers, json, text).into_response()
}

/// A JSON answer for the caller alone, and for no cache.
pub(super) fn private_json(status: StatusCode, body: &impl Serialize) -> Response {
    json_response(status, private_headers(), body)
}

/// The headers of an answer that nobody but the caller may keep.
pub(super) fn private_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    set_header(&mut headers, CACHE_CONTROL, "private, no-store");
    headers
}

pub(super) fn set_header(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let value = HeaderValue::from_str(value).expect("header values made here are ASCII");
    headers.insert(name, value);
}

/// Does a client accept JSON (RFC 9110, section 12.5.1)? One that does not say what it accepts does.
pub(super) fn accepts_json(headers: &HeaderMap) -> bool {
    let mut ranges = accepted(headers).peekable();
    ranges.peek().is_none()
        || ranges.any(|range| matches!(range, "*/*" | "application/*" | "application/json"))
}

/// Does a client ask for HTML by name, as browsers do for a page, and programs for none?
pub(super) fn accepts_html(headers: &HeaderMap) -> bool {
    accepted(headers).any(|range| range.eq_ignore_ascii_case("text/html"))
}

/// The media ranges that a client accepts, without their parameters.
fn accepted(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim())
}

/// Whole seconds, rounded up: a client that waits that long has waited long enough.
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
    fn sizes_are_for_people_and_machines() {
        assert_eq!(size_text(1 << 30), "1.0 GiB (1073741824 bytes)");
    }

    #[test]
    fn seconds_are_rounded_up() {
        for (ms, seconds) in [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2)] {
            assert_eq!(ceil_seconds(Duration::from_millis(ms)), seconds);
        }
    }
}
