//! Refuses heads that are ambiguous about the end of the body or the host.
//!
//! Request smuggling lives on heads that two programs read differently. The HTTP library refuses most
//! of them, and closes the connection where both lengths are given (RFC 9112, section 6.3); what it
//! lets through is refused here, and the connection closed.

use axum::extract::Request;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderValue, Version};

use super::problem::Problem;

/// Refuses what two programs may read differently.
pub(super) fn check(request: &Request) -> Result<(), Problem> {
    // Where the request ends may not be clear.
    read(request).map_err(|text| Problem::bad_request(text).with(CONNECTION, "close"))
}

fn read(request: &Request) -> Result<(), &'static str> {
    let headers = request.headers();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    let is_clear = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => is_chunked(coding),
        (Some(_), Some(_)) => false,
    };
    if !is_clear {
        return Err("the only supported Transfer-Encoding is 'chunked', once and alone");
    }
    // RFC 9112, section 3.2.
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_11 => {
            Err("the request has no Host header, which HTTP/1.1 requires")
        }
        (Some(host), None) if !is_host(host) => Err("the Host header is not a host"),
        (Some(_), Some(_)) => Err("the request has more than one Host header"),
        _ => Ok(()),
    }
}

/// A host, maybe with a port; empty where the URL has none.
fn is_host(value: &HeaderValue) -> bool {
    value.is_empty()
        || Authority::try_from(value.as_bytes()).is_ok_and(|host| !host.as_str().contains('@'))
}
