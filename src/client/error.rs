//! Why a call or a transfer failed, and whether it is tried again. No message has a link or a token.

use std::io;
use std::time::Duration;

use crate::error_chain::printable;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot set up the HTTP client")]
    SetUp(#[source] reqwest::Error),
    #[error("a proxy of the environment has an address that cannot be used")]
    Proxy,
    #[error("the link is not an http or https URL with a host")]
    NoLink,
    #[error("cannot reach {host}")]
    Unreachable {
        host: String,
        source: reqwest::Error,
    },
    #[error("the connection to {host} broke")]
    Broken {
        host: String,
        source: reqwest::Error,
    },
    #[error("{host} made no progress for {}", humantime::format_duration(*limit))]
    Idle { host: String, limit: Duration },
    #[error("{host} refused the API token: {said}; 'waystation login' stores a new one")]
    Unauthorized { host: String, said: String },
    #[error("{host} answered {status}: {said}")]
    Refused {
        host: String,
        status: u16,
        said: String,
        /// The answer's word for programs.
        code: Option<String>,
        retry_after: Option<Duration>,
    },
    #[error("{host} redirects more than {limit} times, or to an invalid address")]
    Redirect { host: String, limit: usize },
    #[error("the answer of {host} cannot be read: is it a waystation or the platform?")]
    Answer {
        host: String,
        source: serde_json::Error,
    },
    #[error("{host} received different bytes: SHA-256 {found} instead of {expected}")]
    OtherUpload {
        host: String,
        expected: String,
        found: String,
    },
    #[error(
        "the download from {host} is corrupt: SHA-256 {found} instead of {expected}; nothing was kept"
    )]
    OtherDownload {
        host: String,
        expected: String,
        found: String,
    },
    #[error("{host} accepts uploads in parts, but not by a protocol that this program knows")]
    Parts { host: String },
    #[error("the stream of {host} broke: {said}")]
    Stream { host: String, said: String },
    #[error("the archive at {host} changed while it was fetched; nothing was kept")]
    Changed { host: String },
    #[error("{host} sent a different part of the archive than requested; nothing was kept")]
    OtherRange { host: String },
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
}

impl ClientError {
    /// May the same work in a while?
    pub(super) fn is_passing(&self) -> bool {
        let is_passing_answer =
            |status| matches!(status, 408 | 423 | 425 | 429 | 500 | 502..=504 | 520..=599);
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Broken { .. }
                | Self::Idle { .. }
                | Self::Stream { .. }
        ) || self.status().is_some_and(is_passing_answer)
    }

    /// Did the server certainly do nothing?
    pub(super) fn is_unsent(&self) -> bool {
        if let Self::Unreachable { source, .. } = self {
            return source.is_connect();
        }
        matches!(self.status(), Some(429 | 503))
    }

    pub(super) const fn retry_after(&self) -> Option<Duration> {
        if let Self::Refused { retry_after, .. } = self {
            *retry_after
        } else {
            None
        }
    }

    /// The status of the answer, if it was one.
    pub const fn status(&self) -> Option<u16> {
        if let Self::Refused { status, .. } = self {
            Some(*status)
        } else if matches!(self, Self::Unauthorized { .. }) {
            Some(401)
        } else {
            None
        }
    }

    pub(super) fn refused(
        host: String,
        status: u16,
        said: &str,
        code: Option<String>,
        retry_after: Option<Duration>,
    ) -> Self {
        let said = printable(said);
        if status == 401 {
            return Self::Unauthorized { host, said };
        }
        Self::Refused {
            host,
            status,
            said,
            code,
            retry_after,
        }
    }
}
