//! What the errors of an object store mean.

use http::StatusCode;
use object_store::{Error, path};

use super::quirks::{FULL, UNSUPPORTED};

use crate::error_chain::chain;
use crate::store::error::StoreError;

/// An error while the server runs.
pub(super) fn failed(doing: &'static str) -> impl Fn(Error) -> StoreError {
    move |source| match foreign_key(&source) {
        Some(key) => StoreError::ForeignKey { key },
        None if has_status(&source, FULL) => StoreError::BucketFull { doing, source },
        None => StoreError::Unreachable { doing, source },
    }
}

/// The key in a list that the library has no name for: with an empty part (`a//b`), a part `..` or a
/// control character. It refuses the page of the list that holds one.
fn foreign_key(error: &Error) -> Option<String> {
    if let Error::InvalidPath {
        source: path::Error::EmptySegment { path } | path::Error::BadSegment { path, .. },
    } = error
    {
        return Some(path.clone());
    }
    None
}

/// Does the object store not know that operation?
pub(super) fn is_unsupported(error: &Error) -> bool {
    matches!(
        error,
        Error::NotImplemented { .. } | Error::NotSupported { .. }
    ) || has_status(error, UNSUPPORTED)
}

/// The library reports most statuses in its text only.
fn has_status(error: &Error, status: StatusCode) -> bool {
    chain(error).contains(&format!("status code: {status}"))
}

/// An error before the server accepts: what the operator of the bucket called `name` has to look at.
pub(super) fn unusable(name: &str) -> impl Fn(Error) -> StoreError {
    move |source| match foreign_key(&source) {
        Some(key) => StoreError::ForeignKey { key },
        None => StoreError::Bucket {
            bucket: name.to_owned(),
            problem: problem_behind(&source),
            source,
        },
    }
}

/// For lists, the library reports statuses in its text only.
fn problem_behind(error: &Error) -> &'static str {
    let text = chain(error);
    if matches!(error, Error::NotFound { .. }) || text.contains("404 Not Found") {
        "there is no such bucket: make it, or correct --store; or what answers there is no object store: correct the endpoint (--s3-endpoint)"
    } else if text.contains("RequestTimeTooSkewed") {
        // Requests are signed with the time, so it is reported as a refusal.
        "the clock of this machine is wrong, or the object store's is: set it, and keep it so with NTP"
    } else if matches!(
        error,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. }
    ) || text.contains("403 Forbidden")
        || text.contains("401 Unauthorized")
    {
        "the credentials are refused: check the key, its secret, and that it may read, write, list and delete there"
    } else {
        "the object store cannot be reached: check its endpoint (--s3-endpoint), the region, and the network"
    }
}
