//! What a request's head may not leave open: where its body ends, and which host it is for.
//!
//! Request smuggling lives on heads that two programs read differently. The HTTP library refuses most
//! of them, and closes the connection where both lengths are given (RFC 9112, section 6.3); what it
//! lets through is refused here, and the connection closed.

use axum::extract::Request;
use http::HeaderValue;
use http::header::{HOST, TRANSFER_ENCODING};

use super::problem::ApiError;

/// A head of HTTP/2 that is larger than the limit. The library refuses such a one without a body, so it is
/// given a wider limit, and what lies between is refused here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OversizedHead {
    /// The limit.
    pub(crate) limit_bytes: usize,
}

/// How large a list of fields is, as HTTP/2 counts (RFC 9113, section 6.5.2).
pub(crate) fn list_bytes<B>(request: &http::Request<B>) -> usize {
    let fields = request.headers().iter();
    let fields_bytes: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES)
        .sum();
    let uri = request.uri();
    let pseudo = [
        uri.path(),
        uri.query().unwrap_or_default(),
        uri.host().unwrap_or_default(),
    ];
    fields_bytes + pseudo.iter().map(|text| text.len()).sum::<usize>()
}

/// What a field counts beyond its text.
const FIELD_BYTES: usize = 32;

/// Refuses a head that is too large, or that another program may read otherwise.
pub(super) fn check(request: &Request) -> Result<(), ApiError> {
    if let Some(OversizedHead { limit_bytes }) = request.extensions().get() {
        return Err(ApiError::HeadTooLarge {
            limit_bytes: *limit_bytes,
        });
    }
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
