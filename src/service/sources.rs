//! The use cases: create a source, receive its archive, serve it.
//!
//! Rights arrive as grants, bytes go to the [`Store`]; between them are the limits and the order of checks. Nothing here
//! knows HTTP.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;
use crate::digest::{DigestMismatch, InvalidDigest};
use crate::grant::{Action, DownloadGrant, FetchGrant, GrantKeys};
use crate::limits::AtOnceLimit;
use crate::pace::{Pace, TooSlow};
use crate::public_url::PublicUrl;
use crate::secret::Secret;
use crate::source::{Expired, Facts, SourceId};
use crate::store::{Download, Store, StoreError};

pub mod attempts;
pub mod body;
mod open_attempts;
pub mod receive;

pub use open_attempts::AttemptsLimit;
use open_attempts::OpenAttempts;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub lifetime: Duration,
    /// The largest archive that is taken, inclusive.
    pub upload_bytes: u64,
    /// How many uploads and downloads may run at once, together.
    pub transfers: usize,
    /// How many of these may be uploads to one source, of which only one can win.
    pub uploads_per_source: u32,
    /// How many uploads in parts may be open, so that they can be resumed.
    pub open_attempts: usize,
    /// Their total size, announced or received.
    pub open_attempt_bytes: u64,
    pub upload_pace: Pace,
    pub transfer_mode: TransferMode,
}

/// Which way archives go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TransferMode {
    /// Through this server, which enforces limits, digests and write-once.
    Proxy,
    /// Directly between clients and the object store, by its own links, which enforce none of these.
    Direct,
}

#[derive(Debug)]
pub struct Links {
    pub source: SourceId,
    pub upload_url: Secret,
    pub download_url: Secret,
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("larger than the limit of {limit_bytes} bytes")]
    TooLarge {
        limit_bytes: u64,
        size_bytes: Option<u64>,
    },
    #[error("{limit} transfers are under way, and no more are allowed")]
    Busy { limit: usize },
    #[error("{limit} uploads to this source are under way, and no more are allowed")]
    TooManyUploads { limit: u32 },
    #[error("another archive was uploaded first")]
    AlreadyUploaded { first: Facts },
    #[error(transparent)]
    InvalidDigest(#[from] InvalidDigest),
    #[error("the digest does not match")]
    DigestMismatch(#[from] DigestMismatch),
    /// Of one part; what was there before it stays.
    #[error("the digest of the part does not match")]
    PartDigestMismatch(#[source] DigestMismatch),
    #[error("there is no such upload in parts, or not any more")]
    UnknownAttempt,
    #[error("a part begins at {provided}, and the next one is to begin at {expected}")]
    WrongOffset { expected: u64, provided: u64 },
    /// The attempt is gone, unless it is the archive already.
    #[error("lengths disagree: {first_bytes} bytes, then {then_bytes}")]
    InconsistentLength { first_bytes: u64, then_bytes: u64 },
    #[error("a part broke off, and {kept_bytes} bytes are kept")]
    PartBroken { kept_bytes: u64 },
    #[error("a part was too slow, and {kept_bytes} bytes are kept")]
    PartTooSlow {
        kept_bytes: u64,
        #[source]
        pace: TooSlow,
    },
    /// A newer request resumed the same upload in parts.
    #[error("a newer request goes on with this upload")]
    Superseded,
    #[error("an older request of this upload does not end")]
    StillRunning,
    #[error(transparent)]
    TooManyAttempts(#[from] AttemptsLimit),
    #[error("the body ended after {received_bytes} bytes")]
    EndedEarly {
        received_bytes: u64,
        announced_bytes: Option<u64>,
    },
    #[error("too slow after {received_bytes} bytes")]
    TooSlow {
        received_bytes: u64,
        #[source]
        pace: TooSlow,
    },
    /// The body was empty: no archive is, but a broken pipe or a probe.
    #[error("the body is empty")]
    Empty,
    #[error("a precondition failed")]
    PreconditionFailed,
    #[error(transparent)]
    Expired(#[from] Expired),
    #[error("nothing has been uploaded")]
    NothingUploaded,
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl SourceError {
    /// Was a part refused, and can its client resume the upload from where it was?
    pub const fn is_of_part_alone(&self) -> bool {
        matches!(
            self,
            Self::PartBroken { .. } | Self::PartTooSlow { .. } | Self::PartDigestMismatch(_)
        )
    }
}

pub type Slot = OwnedSemaphorePermit;

/// The service's use cases, over one store and one set of keys.
pub struct Sources {
    store: Store,
    keys: GrantKeys,
    clock: Clock,
    limits: Limits,
    slots: Arc<Semaphore>,
    uploads: Arc<AtOnceLimit<SourceId>>,
    open_attempts: OpenAttempts,
}

impl Sources {
    pub fn new(store: Store, keys: GrantKeys, clock: Clock, limits: Limits) -> Self {
        let open_attempts = OpenAttempts::new(
            limits.open_attempts,
            limits.open_attempt_bytes,
            store.open_attempts(),
        );
        Self {
            store,
            keys,
            clock,
            limits,
            open_attempts,
            slots: Arc::new(Semaphore::new(limits.transfers)),
            uploads: AtOnceLimit::new(limits.uploads_per_source),
        }
    }

    pub const fn keys(&self) -> &GrantKeys {
        &self.keys
    }

    pub fn transfers(&self) -> usize {
        self.limits.transfers - self.slots.available_permits()
    }

    /// How many uploads in parts are open, and their total size.
    pub fn open_attempts(&self) -> (usize, u64) {
        self.open_attempts.sum(self.clock.now())
    }

    pub const fn upload_limit_bytes(&self) -> u64 {
        self.limits.upload_bytes
    }

    /// Hands out a new source, with links as they work where this service is reached at `base`: arithmetic
    /// and ten random bytes. Nothing is written or locked.
    pub async fn create(&self, base: &PublicUrl) -> Result<Links, SourceError> {
        let source = SourceId::mint(self.clock.now().after(self.limits.lifetime), rand::random());
        Ok(Links {
            source,
            upload_url: self.link(base, source, Action::Upload).await?,
            download_url: self.link(base, source, Action::Download).await?,
        })
    }

    async fn link(
        &self,
        base: &PublicUrl,
        source: SourceId,
        action: Action,
    ) -> Result<Secret, SourceError> {
        let method = match action {
            Action::Upload => Method::PUT,
            Action::Download => Method::GET,
        };
        let direct = match self.limits.transfer_mode {
            TransferMode::Proxy => None,
            TransferMode::Direct => {
                let until = source.expires_at();
                self.store.sign(source, method, until).await?
            }
        };
        Ok(direct.unwrap_or_else(|| base.link(source, &self.keys.mint(action, source))))
    }

    /// Opens the archive of a source. The transfer counts as running until the slot is dropped.
    pub async fn open(&self, grant: DownloadGrant) -> Result<(Download, Slot), SourceError> {
        let source = grant.source();
        let slot = self.take_slot()?;
        if let Some(download) = self.store.open(source).await? {
            return Ok((download, slot));
        }
        // It may have been there until just now.
        source.check_expiry(self.clock.now())?;
        Err(SourceError::NothingUploaded)
    }

    /// The same for a runner, whether or not the source has expired: its deployment keeps the archive.
    pub async fn open_pinned(
        &self,
        source: SourceId,
        _grant: FetchGrant,
    ) -> Result<(Download, Slot), SourceError> {
        let slot = self.take_slot()?;
        let download = self.store.open(source).await?;
        let download = download.ok_or(SourceError::NothingUploaded)?;
        Ok((download, slot))
    }

    /// A place among all transfers, kept until it is dropped.
    pub fn take_slot(&self) -> Result<Slot, SourceError> {
        Arc::clone(&self.slots)
            .try_acquire_owned()
            .map_err(|_| SourceError::Busy {
                limit: self.limits.transfers,
            })
    }
}
