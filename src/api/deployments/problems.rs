//! Errors of deployments, as clients see them.

use http::StatusCode;
use http::header::{CONNECTION, CONTENT_RANGE, UPGRADE};

use crate::api::problem::Problem;
use crate::service::deployments::{
    DeploymentError, MAX_GIT_REF_BYTES, MAX_SOURCE_URL_BYTES, SourceUrlError,
};
use crate::source::Expired;

impl From<DeploymentError> for Problem {
    fn from(error: DeploymentError) -> Self {
        match error {
            DeploymentError::SourceUrl(error) => {
                Self::wrong_attribute("source_url", source_url_text(&error))
            }
            DeploymentError::BadGitRef => Self::wrong_attribute(
                "git_ref",
                format!("has at most {MAX_GIT_REF_BYTES} bytes and no control characters"),
            ),
            DeploymentError::AppQueueFull { limit } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!(
                    "{limit} deployments of this app wait, which is the limit; try again when one has ended, or cancel one"
                ),
            )
            .with_code("queue_full"),
            DeploymentError::QueueFull { limit } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!(
                    "{limit} deployments of all apps are unfinished, which is the limit; try again when some have ended"
                ),
            )
            .with_code("queue_full"),
            DeploymentError::Unknown => no_such_deployment(),
            DeploymentError::Store(error) => error.into(),
        }
    }
}

/// Without a resource: clients show this sentence as it is.
fn no_such_deployment() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "this app has no such deployment; the newest are kept, older ones are deleted",
    )
}

fn source_url_text(error: &SourceUrlError) -> String {
    match error {
        SourceUrlError::NotAUrl => {
            "is not a URL; it is the download_url of a source, or the https:// URL of an archive"
                .to_owned()
        }
        SourceUrlError::TooLong => format!("has at most {MAX_SOURCE_URL_BYTES} bytes"),
        SourceUrlError::Scheme => {
            "must begin with https:// (or http://); upload the archive to a source first, and give its download_url".to_owned()
        }
        SourceUrlError::Credentials => {
            "must not hold a user or a password; upload the archive to a source first, and give its download_url".to_owned()
        }
        SourceUrlError::NoSource => {
            "is of this service, and not a download link; give the download_url of a source as it was handed out".to_owned()
        }
        SourceUrlError::UploadLink => {
            "is the upload link of a source; give its download_url".to_owned()
        }
        SourceUrlError::InvalidToken => {
            "has a token that is missing or not valid; give the download_url of a source as it was handed out".to_owned()
        }
        SourceUrlError::OtherServer => {
            "looks like a link to a source, but was not handed out by this service; upload the archive here, and give the download_url".to_owned()
        }
        SourceUrlError::Expired(Expired { expired_at, now }) => format!(
            "expired at {expired_at} (now {now}); create a new source, and upload the archive again"
        ),
        SourceUrlError::NothingUploaded => {
            "is of a source to which nothing has been uploaded yet; upload the archive first".to_owned()
        }
    }
}

pub(super) fn log_range_not_satisfiable(length_bytes: u64) -> Problem {
    let text = format!("range not satisfiable: the log is {length_bytes} bytes long so far");
    Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, text)
        .with(CONTENT_RANGE, &format!("bytes */{length_bytes}"))
}

/// The request is no handshake of a WebSocket.
pub(super) fn not_a_web_socket() -> Problem {
    Problem::new(
        StatusCode::UPGRADE_REQUIRED,
        "this is a WebSocket endpoint (RFC 6455, version 13), and the request is not a handshake",
    )
    .with(UPGRADE, "websocket")
    .with(CONNECTION, "upgrade")
    .with(http::header::SEC_WEBSOCKET_VERSION, "13")
}
