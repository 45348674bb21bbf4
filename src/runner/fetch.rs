//! Fetches the archive of a deployment into its folder, and checks that it is the one that was accepted.

use std::fs::File;
use std::io::{self, Write as _};
use std::time::Duration;

use reqwest::Response;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::foreign::{ForeignError, ForeignRules};
use super::server::{Server, ServerError};
use crate::backoff::Backoff;
use crate::digest::Sha256Digest;
use crate::error_chain::chain;
use crate::wire::runner::Claim;

/// How long a download may stand still.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// How long an archive elsewhere may take in all: it could come byte by byte.
const FOREIGN_TIMEOUT: Duration = Duration::from_mins(10);
/// How often an archive of the server's own is asked for.
const ATTEMPTS: u32 = 5;

/// Why there is no archive. No message has the link.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the archive cannot be fetched")]
    Server(#[from] ServerError),
    #[error("the archive cannot be fetched: {0}")]
    Foreign(#[from] ForeignError),
    #[error("the download of the archive broke off")]
    Broken(#[source] reqwest::Error),
    #[error(
        "the download of the archive stalled for {}",
        humantime::format_duration(IDLE_TIMEOUT)
    )]
    Idle,
    #[error(
        "the download of the archive took longer than {}",
        humantime::format_duration(FOREIGN_TIMEOUT)
    )]
    Slow,
    #[error(
        "the archive is larger than {limit_bytes} bytes, which --archive-limit of the runner allows"
    )]
    TooLarge { limit_bytes: u64 },
    #[error("the archive has {found_bytes} bytes instead of {expected_bytes}")]
    OtherSize {
        expected_bytes: u64,
        found_bytes: u64,
    },
    #[error("the archive has the SHA-256 {found} instead of {expected}")]
    OtherDigest { expected: String, found: String },
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Fetched {
    pub(super) bytes: u64,
    pub(super) sha256: Sha256Digest,
}

/// Where archives come from.
pub(super) struct Fetcher<'a> {
    pub(super) server: &'a Server,
    pub(super) foreign: &'a ForeignRules,
    pub(super) limit_bytes: u64,
}

impl Fetcher<'_> {
    pub(super) async fn fetch(
        &self,
        claim: &Claim,
        file: &mut File,
    ) -> Result<Fetched, FetchError> {
        let source = &claim.deployment.source;
        let fetched = if source.host.is_some() {
            let fetched = timeout(FOREIGN_TIMEOUT, self.fetch_foreign(&claim.source_url, file));
            fetched.await.map_err(|_| FetchError::Slow)??
        } else {
            self.fetch_own(&claim.source_url, file).await?
        };
        if let Some(expected_bytes) = source.size.filter(|size| *size != fetched.bytes) {
            let found_bytes = fetched.bytes;
            return Err(FetchError::OtherSize {
                expected_bytes,
                found_bytes,
            });
        }
        let found = fetched.sha256.to_string();
        match &source.sha256 {
            Some(expected) if *expected != found => Err(FetchError::OtherDigest {
                expected: expected.clone(),
                found,
            }),
            _ => Ok(fetched),
        }
    }

    async fn fetch_foreign(&self, link: &str, file: &mut File) -> Result<Fetched, FetchError> {
        let response = self.foreign.open(link).await?;
        self.receive(response, file).await
    }

    /// A server may be restarted meanwhile, so it is asked again.
    async fn fetch_own(&self, link: &str, file: &mut File) -> Result<Fetched, FetchError> {
        let mut backoff = Backoff::between(Duration::from_millis(200), Duration::from_secs(5));
        let mut attempt = 1;
        loop {
            let failed = match self.server.open_archive(link).await {
                Ok(response) => match self.receive(response, file).await {
                    Err(error @ (FetchError::Broken(_) | FetchError::Idle)) => error,
                    received => return received,
                },
                Err(
                    error @ ServerError::Refused {
                        status: 400..500, ..
                    },
                ) => {
                    return Err(error.into());
                }
                Err(error) => error.into(),
            };
            if attempt == ATTEMPTS {
                return Err(failed);
            }
            tracing::warn!(error = chain(&failed), "trying again");
            attempt += 1;
            backoff.wait().await;
        }
    }

    async fn receive(
        &self,
        mut response: Response,
        file: &mut File,
    ) -> Result<Fetched, FetchError> {
        let limit_bytes = self.limit_bytes;
        let too_large = FetchError::TooLarge { limit_bytes };
        if response
            .content_length()
            .is_some_and(|bytes| bytes > limit_bytes)
        {
            return Err(too_large);
        }
        start_anew(file).map_err(FetchError::Write)?;
        let mut hash = Sha256::new();
        let mut bytes = 0;
        loop {
            let chunk = timeout(IDLE_TIMEOUT, response.chunk()).await;
            let chunk = chunk.map_err(|_| FetchError::Idle)?;
            let chunk = chunk.map_err(|error| FetchError::Broken(error.without_url()))?;
            let Some(chunk) = chunk else { break };
            bytes += chunk.len() as u64;
            if bytes > limit_bytes {
                return Err(too_large);
            }
            hash.update(&chunk);
            file.write_all(&chunk).map_err(FetchError::Write)?;
        }
        Ok(Fetched {
            bytes,
            sha256: Sha256Digest(hash.finalize().into()),
        })
    }
}

fn start_anew(file: &mut File) -> io::Result<()> {
    io::Seek::rewind(file)?;
    file.set_len(0)
}
