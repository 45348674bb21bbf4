//! The use cases: create a source, receive its archive, serve it.
//!
//! What may be done comes as a grant, what is stored goes to the [`Store`]; here stands what lies
//! between: limits, and the order of checks. Nothing here knows HTTP.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::Method;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::{Clock, Timestamp};
use crate::digest::DigestMismatch;
use crate::grant::{Action, DownloadGrant, GrantKeys};
use crate::pace::{Pace, TooSlow};
use crate::public_url::PublicUrl;
use crate::secret::Secret;
use crate::source::{Facts, SourceId};
use crate::store::{ByteStream, Download, PieceStream, Store, StoreError};

pub mod receive;

/// The limits on sources and their transfers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From creation to expiry.
    pub lifetime: Duration,
    /// The largest archive that is taken, inclusive.
    pub upload_bytes: u64,
    /// How many uploads and downloads may run at once, together.
    pub transfers: usize,
    /// How slowly a client may send.
    pub upload_pace: Pace,
    /// Which way archives go.
    pub transfer_mode: TransferMode,
}

/// Which way archives go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TransferMode {
    /// Through this server, which holds them to limits, digests and write-once.
    Proxy,
    /// Between clients and the object store, by its own links, which keep none of these.
    Direct,
}

/// The two links to a new source.
#[derive(Debug)]
pub struct Links {
    /// The source.
    pub source: SourceId,
    upload: Link,
    download: Link,
}

#[derive(Debug)]
enum Link {
    /// One to this service, by its token.
    Own(Secret),
    /// One to the object store, whole.
    Direct(Secret),
}

impl Links {
    /// Where the archive can be put, if this service is reached at `base`. A secret.
    pub fn upload_url(&self, base: &PublicUrl) -> String {
        self.url(&self.upload, base)
    }

    /// Where the archive can be fetched, if this service is reached at `base`. A secret.
    pub fn download_url(&self, base: &PublicUrl) -> String {
        self.url(&self.download, base)
    }

    fn url(&self, link: &Link, base: &PublicUrl) -> String {
        match link {
            Link::Own(token) => base.link(self.source, token),
            Link::Direct(url) => url.reveal().to_owned(),
        }
    }
}

/// Why no archive was received, or no new source made.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The archive is larger than what is taken.
    #[error("larger than the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
        /// How large it is, if the client said so.
        size_bytes: Option<u64>,
    },
    /// Too many transfers run already.
    #[error("{limit} transfers are under way, and no more are allowed")]
    Busy {
        /// The limit.
        limit: usize,
    },
    /// The source has an archive, and it is another one.
    #[error("another archive was uploaded first")]
    AlreadyUploaded {
        /// The one that stays.
        first: Facts,
    },
    /// The bytes are not those that the client announced.
    #[error("the digest does not match")]
    DigestMismatch(#[from] DigestMismatch),
    /// The client stopped before its end.
    #[error("the body ended after {received_bytes} bytes")]
    EndedEarly {
        /// What had come by then.
        received_bytes: u64,
        /// What was announced.
        announced_bytes: Option<u64>,
    },
    /// The client sends too slowly, or nothing at all.
    #[error("too slow after {received_bytes} bytes")]
    TooSlow {
        /// What had come by then.
        received_bytes: u64,
        /// How slow it was.
        #[source]
        pace: TooSlow,
    },
    /// There was not a single byte: no archive is like that, but a broken pipe and a probe are.
    #[error("the body is empty")]
    Empty,
    /// What is stored is not what the client asks for.
    #[error("a precondition failed")]
    PreconditionFailed,
    /// The source expired meanwhile.
    #[error("expired at {expired_at}")]
    Expired {
        /// When that was.
        expired_at: Timestamp,
        /// What time it is.
        now: Timestamp,
    },
    /// Nothing has been uploaded to the source.
    #[error("nothing has been uploaded")]
    NothingUploaded,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// An archive that can be sent.
#[derive(Debug)]
pub struct Opened {
    /// What is known of it.
    pub facts: Facts,
    download: Download,
    slot: OwnedSemaphorePermit,
}

impl Opened {
    /// The bytes of `range`, which lies within the archive. The transfer counts as running until
    /// the stream is dropped.
    pub fn into_stream(self, range: Range<u64>) -> ByteStream {
        while_running(self.slot, self.download.into_stream(range))
    }

    /// The same, for who can have the system send parts of files.
    pub fn into_pieces(self, range: Range<u64>) -> PieceStream {
        while_running(self.slot, self.download.into_pieces(range))
    }
}

/// The stream, and what is held until it is dropped.
pub(crate) fn while_running<T: 'static>(
    slot: impl Send + 'static,
    stream: BoxStream<'static, T>,
) -> BoxStream<'static, T> {
    stream
        .inspect(move |_| {
            let _running = &slot;
        })
        .boxed()
}

/// The service's use cases, over one store and one set of keys.
pub struct Sources {
    store: Store,
    keys: GrantKeys,
    clock: Clock,
    limits: Limits,
    slots: Arc<Semaphore>,
}

impl Sources {
    /// Puts the parts together.
    pub fn new(store: Store, keys: GrantKeys, clock: Clock, limits: Limits) -> Self {
        Self {
            store,
            keys,
            clock,
            limits,
            slots: Arc::new(Semaphore::new(limits.transfers)),
        }
    }

    /// The keys by which its grants are verified.
    pub const fn keys(&self) -> &GrantKeys {
        &self.keys
    }

    /// How many transfers are under way.
    pub fn transfers(&self) -> usize {
        self.limits.transfers - self.slots.available_permits()
    }

    /// Hands out a new source: arithmetic and ten random bytes. Nothing is written or locked.
    pub async fn create(&self) -> Result<Links, SourceError> {
        let source = SourceId::mint(self.clock.now().after(self.limits.lifetime), rand::random());
        Ok(Links {
            source,
            upload: self.link(source, Action::Upload).await?,
            download: self.link(source, Action::Download).await?,
        })
    }

    async fn link(&self, source: SourceId, action: Action) -> Result<Link, SourceError> {
        let method = match (self.limits.transfer_mode, action) {
            (TransferMode::Proxy, _) => return Ok(Link::Own(self.keys.mint(action, source))),
            (TransferMode::Direct, Action::Upload) => Method::PUT,
            (TransferMode::Direct, Action::Download) => Method::GET,
        };
        match self.store.sign(source, method).await? {
            Some(url) => Ok(Link::Direct(url)),
            None => Ok(Link::Own(self.keys.mint(action, source))),
        }
    }

    /// Opens the archive of a source.
    pub async fn open(&self, grant: DownloadGrant) -> Result<Opened, SourceError> {
        let source = grant.source();
        let slot = self.take_slot()?;
        if let Some(download) = self.store.open(source).await? {
            return Ok(Opened {
                facts: *download.facts(),
                download,
                slot,
            });
        }
        // It may have been there until just now.
        self.check_expiry(source)?;
        Err(SourceError::NothingUploaded)
    }

    fn check_expiry(&self, source: SourceId) -> Result<(), SourceError> {
        let now = self.clock.now();
        if source.is_expired(now) {
            return Err(SourceError::Expired {
                expired_at: source.expires_at(),
                now,
            });
        }
        Ok(())
    }

    fn take_slot(&self) -> Result<OwnedSemaphorePermit, SourceError> {
        Arc::clone(&self.slots)
            .try_acquire_owned()
            .map_err(|_| SourceError::Busy {
                limit: self.limits.transfers,
            })
    }
}
