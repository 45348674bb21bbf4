//! What a request's head may not leave open: where its body ends, and which host it is for.
//!
//! Request smuggling lives on heads that two programs read differently. The HTTP library refuses most
//! of them, and closes the connection where both lengths are given (RFC 9112, section 6.3); what it
//! lets through is refused here, and the connection closed.

use axum::extract::Request;
use http::HeaderValue;
use http::header::{HOST, TRANSFER_ENCODING};

use super::error::ApiError;

/// Refuses a head that another program may read otherwise.
pub(super) fn check(request: &Request) -> Result<(), ApiError> {
    let headers = request.headers();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    let is_clear = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => is_chunked(coding),
        (Some(_), Some(_)) => false,
    };
    if !is_clear {
        return Err(ApiError::UnclearHead {
            problem: "the only Transfer-Encoding that is taken is 'chunked', once and alone",
        });
    }
    // RFC 9112, section 3.2.
    if headers.get_all(HOST).iter().count() > 1 {
        return Err(ApiError::UnclearHead {
            problem: "the request has more than one Host header",
        });
    }
    Ok(())
}
