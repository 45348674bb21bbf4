//! The headers of uploads in parts, and what `Upload-Complete` means for a request to an upload link.

use http::{HeaderMap, HeaderName};

pub(super) const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
pub(super) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(super) const UPLOAD_LIMIT: HeaderName = HeaderName::from_static("upload-limit");
pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// Does a request begin an archive that a later one completes?
pub(super) fn begins(headers: &HeaderMap) -> bool {
    is_complete(headers) == Some(false)
}

/// Does it say that it sends all of it?
pub(super) fn completes(headers: &HeaderMap) -> bool {
    is_complete(headers) == Some(true)
}

/// What `Upload-Complete` says, a boolean of RFC 9651; `None` if it says nothing, or cannot be read.
pub(super) fn is_complete(headers: &HeaderMap) -> Option<bool> {
    let mut values = headers.get_all(UPLOAD_COMPLETE).iter();
    match (values.next()?.as_bytes().trim_ascii(), values.next()) {
        (b"?0", None) => Some(false),
        (b"?1", None) => Some(true),
        _ => None,
    }
}
