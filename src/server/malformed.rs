//! What the HTTP library answers by itself to bytes that are no request, said in JSON.
//!
//! The library refuses such bytes before there is a request that a handler could see, with a status
//! and nothing else. [`refused_status`] knows those answers, and [`answer`] is sent instead.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

/// The limits that such a refusal names.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    /// The largest head of a request.
    pub(super) head_bytes: usize,
    /// How long it may take.
    pub(super) head_timeout: Duration,
}

/// How what came did not become the head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// Not in time.
    TooSlow,
    /// Its sender stopped.
    BrokenOff,
    /// It is the beginning of HTTP/2, which is spoken within TLS only.
    Http2,
}

impl Unfinished {
    /// What it is refused with.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenOff => StatusCode::BAD_REQUEST,
            Self::Http2 => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }
}

/// The status of `written`, if that is a bare refusal of the library.
pub(super) fn refused_status(written: &[u8]) -> Option<StatusCode> {
    let digits = written
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| written.strip_prefix(b"HTTP/1.0 "))?
        .get(..3)?;
    let status = StatusCode::from_bytes(digits).ok()?;
    status.is_client_error().then_some(status)
}

/// The whole answer, head and body.
pub(super) fn answer(status: StatusCode, limits: HeadLimits, request_id: &str) -> Vec<u8> {
    let body = json!({ "error": text_for(status, limits) }).to_string();
    let reason = status.canonical_reason().unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\n\
         content-type: application/json\r\n\
         content-length: {}\r\n\
         x-request-id: {request_id}\r\n\
         connection: close\r\n\r\n",
        body.len(),
        status = status.as_str(),
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

fn text_for(status: StatusCode, limits: HeadLimits) -> String {
    let head_bytes = limits.head_bytes;
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => format!(
            "the head of the request is larger than the limit of {head_bytes} bytes, or has too many headers, or a Content-Length beyond any number"
        ),
        StatusCode::URI_TOO_LONG => {
            format!("the URI is too long; the whole head of a request has a limit of {head_bytes} bytes")
        }
        StatusCode::REQUEST_TIMEOUT => format!(
            "the head of the request did not come within {} s",
            limits.head_timeout.as_secs_f64()
        ),
        StatusCode::HTTP_VERSION_NOT_SUPPORTED => {
            "HTTP/2 is spoken within TLS only; speak HTTP/1.1 here".to_owned()
        }
        _ => "this is no valid HTTP/1.1 request: its request line, a header, or its length cannot be read"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        head_bytes: 32768,
        head_timeout: Duration::from_secs(30),
    };

    #[test]
    fn a_bare_refusal_is_said_in_json() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        let status = refused_status(bare).unwrap();
        let answer = String::from_utf8(answer(status, LIMITS, "id-1")).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(status.as_u16(), 431);
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
        assert!(head.contains("x-request-id: id-1"));
        assert!(head.contains(&format!("content-length: {}", body.len())));
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert!(body["error"].as_str().unwrap().contains("32768 bytes"));
    }

    #[test]
    fn nothing_else_is_taken_for_one() {
        for written in [
            b"HTTP/1.1 100 Continue\r\n\r\n".as_slice(),
            b"HTTP/1.0 200 OK\r\n\r\n",
            b"HTTP/1.1 4",
            b"",
        ] {
            assert_eq!(refused_status(written), None);
        }
    }
}
