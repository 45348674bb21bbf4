//! The use cases: create a source, receive its archive, serve it.
//!
//! What may be done comes as a grant, what is stored goes to the [`Store`]; here stands what lies
//! between: limits, order of checks, and that whatever refuses an upload leaves nothing of it.
//! Nothing here knows HTTP.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::Method;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::clock::{Clock, Timestamp};
use crate::digest::{Claims, DigestMismatch, Digester, Digests};
use crate::grant::{Action, DownloadGrant, GrantKeys, UploadGrant};
use crate::pace::{Pace, PaceMeter, TooSlow};
use crate::public_url::PublicUrl;
use crate::secret::Secret;
use crate::source::{Facts, SourceId};
use crate::store::{Begun, ByteStream, Download, Published, Staged, Store, StoreError, Upload};

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
    /// Between clients and the engine, by the engine's own links, which keep none of these.
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
    /// One to the engine, whole.
    Engine(Secret),
}

impl Links {
    /// Where the archive can be put, if this service is reached at `base`. A secret.
    #[must_use]
    pub fn upload_url(&self, base: &PublicUrl) -> String {
        self.url(&self.upload, base)
    }

    /// Where the archive can be fetched, if this service is reached at `base`. A secret.
    #[must_use]
    pub fn download_url(&self, base: &PublicUrl) -> String {
        self.url(&self.download, base)
    }

    fn url(&self, link: &Link, base: &PublicUrl) -> String {
        match link {
            Link::Own(token) => base.link(self.source, token),
            Link::Engine(url) => url.reveal().to_owned(),
        }
    }
}

/// What a client says about the archive it is going to send.
#[derive(Clone, Debug, Default)]
pub struct Announced {
    /// Its length, if that is known.
    pub size_bytes: Option<u64>,
    /// Its digests.
    pub claims: Claims,
}

/// The client's body ended before all of it had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body ended early")]
pub struct EndedEarly;

/// Why no archive was received, or no new source made.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The system has no randomness to give.
    #[error("no randomness for a new source")]
    NoRandomness(#[source] getrandom::Error),
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
    /// The source expired meanwhile.
    #[error("expired at {expired_at}")]
    Expired {
        /// When that was.
        expired_at: Timestamp,
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
    #[must_use]
    pub fn into_stream(self, range: Range<u64>) -> ByteStream {
        let slot = self.slot;
        self.download
            .into_stream(range)
            .inspect(move |_| {
                let _running = &slot;
            })
            .boxed()
    }
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
    #[must_use]
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
    #[must_use]
    pub const fn keys(&self) -> &GrantKeys {
        &self.keys
    }

    /// How many transfers are under way.
    #[must_use]
    pub fn transfers(&self) -> usize {
        self.limits.transfers - self.slots.available_permits()
    }

    /// Hands out a new source: arithmetic and ten random bytes. Nothing is written or locked.
    pub async fn create(&self) -> Result<Links, SourceError> {
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(SourceError::NoRandomness)?;
        let source = SourceId::mint(self.clock.now().after(self.limits.lifetime), random);
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
            Some(url) => Ok(Link::Engine(url)),
            None => Ok(Link::Own(self.keys.mint(action, source))),
        }
    }

    /// Takes an archive in. Returns its facts once it is durable, or, if the same bytes were there
    /// before, theirs. On any error nothing of it is left when this returns.
    pub async fn receive(
        &self,
        grant: UploadGrant,
        announced: Announced,
        body: impl Stream<Item = Result<Bytes, EndedEarly>> + Unpin,
    ) -> Result<Facts, SourceError> {
        let source = grant.source();
        if announced.size_bytes > Some(self.limits.upload_bytes) {
            return Err(self.too_large(announced.size_bytes));
        }
        let _slot = self.take_slot()?;
        let digester = Digester::for_claims(&announced.claims);
        let begun = self
            .store
            .begin_upload(source, announced.size_bytes, digester.clone())
            .await?;
        match begun {
            Begun::Fresh(upload) => self.store_new(upload, source, &announced, body).await,
            Begun::AlreadyUploaded(first) => {
                self.compare(first, digester, source, &announced, body)
                    .await
            }
        }
    }

    async fn store_new(
        &self,
        mut upload: Upload,
        source: SourceId,
        announced: &Announced,
        body: impl Stream<Item = Result<Bytes, EndedEarly>> + Unpin,
    ) -> Result<Facts, SourceError> {
        let sink = Sink::Store(&mut upload);
        if let Err(error) = self.take_in(source, announced, body, sink).await {
            upload.abandon().await;
            return Err(error);
        }
        let staged = upload.finish().await?;
        if let Err(error) = self.check_staged(source, announced, &staged) {
            staged.abandon().await;
            return Err(error);
        }
        let published = self.publish(staged).await;
        // Syncing may have taken until after the expiry; then it is swept, and nobody can fetch it.
        self.check_expiry(source)?;
        published
    }

    /// Before anything is published: is it what was announced, and could anyone still fetch it?
    fn check_staged(
        &self,
        source: SourceId,
        announced: &Announced,
        staged: &Staged,
    ) -> Result<(), SourceError> {
        announced.claims.check(&staged.digests)?;
        self.check_expiry(source)
    }

    async fn publish(&self, staged: Staged) -> Result<Facts, SourceError> {
        let (size_bytes, digests) = (staged.size_bytes, staged.digests.clone());
        match staged.publish(self.clock.now()).await? {
            Published::New(facts) => Ok(facts),
            Published::AlreadyUploaded(first) => same_or_conflict(first, size_bytes, &digests),
        }
    }

    /// The source has its archive: the same bytes again are a success, since their sender may have
    /// lost the first answer. They are digested, not stored.
    async fn compare(
        &self,
        first: Facts,
        mut digester: Digester,
        source: SourceId,
        announced: &Announced,
        body: impl Stream<Item = Result<Bytes, EndedEarly>> + Unpin,
    ) -> Result<Facts, SourceError> {
        if announced
            .size_bytes
            .is_some_and(|size| size != first.size_bytes)
        {
            return Err(SourceError::AlreadyUploaded { first });
        }
        let sink = Sink::Digest(&mut digester);
        let size_bytes = self.take_in(source, announced, body, sink).await?;
        let digests = digester.finish();
        announced.claims.check(&digests)?;
        same_or_conflict(first, size_bytes, &digests)
    }

    /// Moves the whole body into `sink`, until the source expires. Returns how many bytes it had.
    async fn take_in(
        &self,
        source: SourceId,
        announced: &Announced,
        body: impl Stream<Item = Result<Bytes, EndedEarly>> + Unpin,
        sink: Sink<'_>,
    ) -> Result<u64, SourceError> {
        tokio::select! {
            received = self.pump(announced, body, sink) => received,
            () = self.clock.wait_until(source.expires_at()) => Err(SourceError::Expired {
                expired_at: source.expires_at(),
            }),
        }
    }

    async fn pump(
        &self,
        announced: &Announced,
        body: impl Stream<Item = Result<Bytes, EndedEarly>> + Unpin,
        mut sink: Sink<'_>,
    ) -> Result<u64, SourceError> {
        let mut body = PacedBody::new(body, self.limits.upload_pace);
        let mut received_bytes = 0;
        let ended_early = |received_bytes| SourceError::EndedEarly {
            received_bytes,
            announced_bytes: announced.size_bytes,
        };
        loop {
            match body.next().await {
                Err(pace) => {
                    return Err(SourceError::TooSlow {
                        received_bytes,
                        pace,
                    });
                }
                Ok(Some(Err(EndedEarly))) => return Err(ended_early(received_bytes)),
                Ok(None) if announced.size_bytes > Some(received_bytes) => {
                    return Err(ended_early(received_bytes));
                }
                Ok(None) => return Ok(received_bytes),
                Ok(Some(Ok(chunk))) => {
                    received_bytes += chunk.len() as u64;
                    if received_bytes > self.limits.upload_bytes {
                        return Err(self.too_large(None));
                    }
                    sink.write(chunk).await?;
                }
            }
        }
    }

    /// Opens the archive of a source.
    pub async fn open(&self, grant: DownloadGrant) -> Result<Opened, SourceError> {
        let source = grant.source();
        let slot = self.take_slot()?;
        if let Some(download) = self.store.open(source).await? {
            return Ok(Opened {
                facts: download.facts,
                download,
                slot,
            });
        }
        // It may have been there until just now.
        self.check_expiry(source)?;
        Err(SourceError::NothingUploaded)
    }

    fn check_expiry(&self, source: SourceId) -> Result<(), SourceError> {
        if source.is_expired(self.clock.now()) {
            return Err(SourceError::Expired {
                expired_at: source.expires_at(),
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

    const fn too_large(&self, size_bytes: Option<u64>) -> SourceError {
        SourceError::TooLarge {
            limit_bytes: self.limits.upload_bytes,
            size_bytes,
        }
    }
}

fn same_or_conflict(
    first: Facts,
    size_bytes: u64,
    digests: &Digests,
) -> Result<Facts, SourceError> {
    if first.size_bytes == size_bytes && first.sha256 == digests.sha256 {
        Ok(first)
    } else {
        Err(SourceError::AlreadyUploaded { first })
    }
}

/// A body whose client is held to a pace.
struct PacedBody<B> {
    body: B,
    meter: PaceMeter,
}

impl<B: Stream<Item = Result<Bytes, EndedEarly>> + Unpin> PacedBody<B> {
    const fn new(body: B, pace: Pace) -> Self {
        Self {
            body,
            meter: PaceMeter::new(pace),
        }
    }

    async fn next(&mut self) -> Result<Option<Result<Bytes, EndedEarly>>, TooSlow> {
        let asked_at = Instant::now();
        let next = timeout(self.meter.idle_timeout(), self.body.next())
            .await
            .map_err(|_| self.meter.idle())?;
        if let Some(Ok(chunk)) = &next {
            self.meter.note(chunk.len(), asked_at.elapsed())?;
        }
        Ok(next)
    }
}

/// Where the bytes of a body go.
enum Sink<'a> {
    Store(&'a mut Upload),
    Digest(&'a mut Digester),
}

impl Sink<'_> {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        match self {
            Self::Store(upload) => upload.write(chunk).await,
            Self::Digest(digester) => {
                digester.update(&chunk);
                // Hashing takes its time; others on this thread get theirs in between.
                tokio::task::yield_now().await;
                Ok(())
            }
        }
    }
}
