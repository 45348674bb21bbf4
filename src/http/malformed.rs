//! What the HTTP library answers by itself to bytes that are no request, said in JSON.
//!
//! The library refuses such bytes before there is a request that a handler could see, with a status
//! and nothing else. [`answer_for`] knows those answers and gives what is sent instead.

use http::StatusCode;
use serde_json::json;

/// A limit that such a refusal names.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    /// The largest head of a request.
    pub(super) head_bytes: usize,
}

/// The answer to send in place of `written`, if that is a bare refusal of the library.
pub(super) fn answer_for(
    written: &[u8],
    limits: HeadLimits,
    request_id: &str,
) -> Option<(StatusCode, Vec<u8>)> {
    let status = refused_status(written)?;
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
    Some((status, [head.as_bytes(), body.as_bytes()].concat()))
}

fn refused_status(written: &[u8]) -> Option<StatusCode> {
    let digits = written.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let status = StatusCode::from_bytes(digits).ok()?;
    status.is_client_error().then_some(status)
}

fn text_for(status: StatusCode, limits: HeadLimits) -> String {
    let head_bytes = limits.head_bytes;
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => format!(
            "the head of the request is larger than the limit of {head_bytes} bytes, or has too many headers"
        ),
        StatusCode::URI_TOO_LONG => {
            format!("the URI is too long; the whole head of a request has a limit of {head_bytes} bytes")
        }
        _ => "this is no valid HTTP/1.1 request: its request line, a header, or its length cannot be read"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { head_bytes: 32768 };

    #[test]
    fn a_bare_refusal_is_said_in_json() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        let (status, answer) = answer_for(bare, LIMITS, "id-1").unwrap();
        let answer = String::from_utf8(answer).unwrap();
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
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 4",
            b"",
        ] {
            assert!(answer_for(written, LIMITS, "id").is_none());
        }
    }
}
