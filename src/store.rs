//! The store contract: where archives and documents live, and the closed enum of stores.
//!
//! Every store keeps these promises; one conformance suite holds them all to it:
//!
//! * **All or nothing.** An archive can be opened only once all of it, its facts and its name are
//!   durable; an upload that ends in any other way than [`Published::New`] leaves nothing behind.
//! * **Write-once.** The first upload published to a source stays; a later one learns its facts.
//!   Of two at once exactly one is [`Published::New`].
//! * **Expiry is in the name.** [`Store::sweep`] deletes what has expired by its id, and costs what
//!   has expired, not what is stored.
//! * **What is pinned stays.** No sweep deletes an archive before the deadline of its last [`Pin`].
//!
//! What holds for uploads in parts stands in [`attempts`].
//! What holds for documents stands in [`documents`], and what holds for journals in [`journals`].
//!
//! A store knows nothing of HTTP, grants, limits on size, or what time it is.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;

use crate::clock::Timestamp;
use crate::digest::Digester;
use crate::secret::Secret;
use crate::source::{Facts, SourceId};

/// Asks what is in `$self`, a folder's or a bucket's.
macro_rules! ask {
    ($self:expr, $it:ident => $answer:expr) => {
        match $self {
            Self::Folder($it) => $answer,
            Self::Bucket($it) => $answer,
        }
    };
}

mod archive;
pub mod attempt;
pub mod attempts;
mod audit;
pub mod bucket;
pub mod document;
pub mod documents;
mod error;
pub mod folder;
pub mod journal;
pub mod journals;
pub mod pin;

pub use archive::{ArchiveCounts, Audit, ByteStream, LinkState, Published, Swept, UploadStart};
pub use attempt::{Attempt, AttemptStart, Plan, Progress};
pub use attempts::OpenAttempt;
pub use bucket::BucketStore;
pub use document::{
    Collection, DocumentKey, DocumentName, Expected, MAX_DOCUMENT_BYTES, Updated, Version,
    Versioned, Written,
};
use error::Result;
pub use error::{StoreError, settle};
pub use folder::{FilePart, FolderStore, MAX_PART_BYTES, Piece, PieceStream};
pub use journal::{Appended, JournalKey, MAX_APPEND_BYTES};
pub use pin::Pin;

/// Expired sources are to be gone from a bucket within a minute: a sweep each so often, and the grace.
const BUCKET_SWEEP_INTERVAL: Duration = Duration::from_secs(20);

/// A place where archives and documents are kept. Cheap to clone; clones are the same store.
#[derive(Clone, Debug)]
pub enum Store {
    Folder(Arc<FolderStore>),
    Bucket(Arc<BucketStore>),
}

/// An upload under way. Dropping it abandons it: nothing of it stays.
#[derive(Debug)]
pub enum Upload {
    Folder(folder::FolderUpload),
    Bucket(Box<bucket::BucketUpload>),
}

#[derive(Debug)]
pub enum StagedPlace {
    Folder(folder::StagedFile),
    Bucket(bucket::StagedParts),
}

/// An upload whose last byte has been taken in, but which is not published.
pub type Staged = archive::Staged<StagedPlace>;

/// An archive opened for reading. It can be read to its end even if it is deleted meanwhile.
#[derive(Debug)]
pub enum Download {
    Folder(folder::FolderDownload),
    Bucket(bucket::BucketDownload),
}

impl Store {
    /// Looks whether the place is there, for what does not claim it: an object store that makes
    /// buckets by itself would hide a name that is wrong. A folder is looked at when it is opened.
    pub async fn find(&self) -> Result<()> {
        match self {
            Self::Folder(_) => Ok(()),
            Self::Bucket(bucket) => bucket.find().await,
        }
    }

    /// Makes this process the server of the store, where a store can have only one, and removes what
    /// uploads that an earlier server could not end have left. Says how many those were.
    pub async fn claim(&self) -> Result<u64> {
        ask!(self, store => store.claim().await)
    }

    /// Starts an upload to `source`, to be fed through `digester`. `declared_bytes` is how long it
    /// says it will be: one that the store has no room for is refused before it sends anything.
    pub async fn begin_upload(
        &self,
        source: SourceId,
        declared_bytes: Option<u64>,
        digester: Digester,
    ) -> Result<UploadStart<Upload>> {
        match self {
            Self::Folder(folder) => {
                let start = folder
                    .begin_upload(source, declared_bytes, digester)
                    .await?;
                Ok(start.map(Upload::Folder))
            }
            Self::Bucket(bucket) => {
                let start = bucket
                    .begin_upload(source, declared_bytes, digester)
                    .await?;
                Ok(start.map(|upload| Upload::Bucket(Box::new(upload))))
            }
        }
    }

    /// The archive of `source`, where a store lets an upload begin without having looked for it; else `None`.
    pub async fn find_first(&self, source: SourceId) -> Result<Option<Facts>> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::Bucket(bucket) => bucket.find_first(source).await,
        }
    }

    /// Opens the archive of `source`; `None` if there is none (yet, or any more).
    pub async fn open(&self, source: SourceId) -> Result<Option<Download>> {
        Ok(match self {
            Self::Folder(folder) => folder.open_download(source).await?.map(Download::Folder),
            Self::Bucket(bucket) => bucket.open_download(source).await?.map(Download::Bucket),
        })
    }

    /// Keeps the archive of `source` until then, although it may expire before; `None` if there is none. To be
    /// called before it expires: later a sweep may be deleting it.
    pub async fn pin(&self, source: SourceId, until: Timestamp) -> Result<Option<Pin>> {
        let pin = Pin::until(until);
        let is_there = ask!(self, store => store.pin(source, pin).await?);
        Ok(is_there.then_some(pin))
    }

    /// Takes a pin away, if it is there: the next sweep deletes what has expired.
    pub async fn unpin(&self, source: SourceId, pin: &Pin) -> Result<()> {
        ask!(self, store => store.unpin(source, *pin).await)
    }

    /// Deletes all that expired longer than [`Self::sweep_grace`] before `now`, except what is pinned.
    pub async fn sweep(&self, now: Timestamp) -> Result<Swept> {
        ask!(self, store => store.sweep(now).await)
    }

    /// Counts the archives, where that costs no more than a look; `None` where it does.
    pub async fn count(&self, now: Timestamp) -> Result<Option<ArchiveCounts>> {
        match self {
            Self::Folder(folder) => folder.count(now).await.map(Some),
            Self::Bucket(_) => Ok(None),
        }
    }

    /// The object store's own link, on which `method` can be called until `source` expires; `None` for a
    /// folder, which cannot serve clients.
    pub async fn sign(&self, source: SourceId, method: http::Method) -> Result<Option<Secret>> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::Bucket(bucket) => bucket.sign(source, method).await,
        }
    }

    /// What was asked of the object store, if there is one.
    pub fn request_metrics(&self) -> Option<&bucket::RequestMetrics> {
        match self {
            Self::Folder(_) => None,
            Self::Bucket(bucket) => Some(bucket.request_metrics()),
        }
    }

    /// The source whose archive stands where `link`, one of the object store itself, leads; `None` if that is no
    /// place of this store.
    pub async fn linked_source(&self, link: &Secret) -> Result<Option<SourceId>> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::Bucket(bucket) => bucket.linked_source(link.reveal()).await,
        }
    }

    /// Does that link, which leads to this store, open the archive?
    pub async fn try_link(&self, link: &Secret) -> Result<LinkState> {
        match self {
            Self::Folder(_) => Ok(LinkState::Denied),
            Self::Bucket(bucket) => bucket.try_link(link).await,
        }
    }

    /// How large the archive is that was uploaded to the object store directly, if one was.
    pub async fn direct_size(&self, source: SourceId) -> Result<Option<u64>> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::Bucket(bucket) => bucket.direct_size(source).await,
        }
    }

    /// The object store's own link to it, until then.
    pub async fn sign_until(&self, source: SourceId, until: Timestamp) -> Result<Option<Secret>> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::Bucket(bucket) => bucket.sign_until(source, until).await,
        }
    }

    /// How long to wait between two sweeps, if `every` is wanted: where each costs a request, and
    /// others sweep too, less often.
    pub fn sweep_interval(&self, every: Duration) -> Duration {
        match self {
            Self::Folder(_) => every,
            Self::Bucket(_) => every.max(BUCKET_SWEEP_INTERVAL),
        }
    }

    /// How long a source is left alone after its expiry before a sweep deletes it.
    pub const fn sweep_grace(&self) -> Duration {
        match self {
            Self::Folder(_) => Duration::ZERO,
            Self::Bucket(_) => bucket::GRACE,
        }
    }

    /// Can it be used, and what has expired be found?
    pub async fn check_ready(&self) -> Result<()> {
        ask!(self, store => store.check_ready().await)
    }

    /// How much more it can take in, in bytes, beyond what is kept free; `None` if it has no end. That
    /// there is an answer shows that the store works.
    pub async fn room_bytes(&self) -> Result<Option<u64>> {
        match self {
            Self::Folder(folder) => folder.room_bytes().await.map(Some),
            Self::Bucket(bucket) => bucket.check().await.map(|()| None),
        }
    }
}

impl Upload {
    /// Takes the next bytes in. Returns when it can take more: a slow store slows its client.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        ask!(self, upload => upload.write(chunk).await)
    }

    /// Gets on with bytes that wait for others before them, and returns when none do. Giving up waiting
    /// for that loses nothing.
    pub async fn catch_up(&mut self) -> Result<()> {
        match self {
            Self::Folder(upload) => upload.catch_up().await,
            // What waits is less than a part, and there are no smaller ones but the last.
            Self::Bucket(_) => Ok(()),
        }
    }

    /// The archive that was there before, where a store lets an upload begin without knowing of it, once it has come to
    /// know: what is sent now is compared with it, and nothing is stored.
    pub const fn first(&self) -> Option<&Facts> {
        match self {
            Self::Folder(_) => None,
            Self::Bucket(upload) => upload.first(),
        }
    }

    /// All bytes were sent: says what they are.
    pub async fn finish(self) -> Result<Staged> {
        match self {
            Self::Folder(upload) => Ok(upload.finish().await?.map(StagedPlace::Folder)),
            Self::Bucket(upload) => Ok(upload.finish().await?.map(StagedPlace::Bucket)),
        }
    }

    /// Gives up; when this returns, nothing of the upload is left.
    pub async fn abandon(self) {
        ask!(self, upload => upload.abandon().await);
    }
}

impl Staged {
    /// Makes the upload the source's archive, if no other was first. Returns when it is durable.
    pub async fn publish(self, uploaded_at: Timestamp) -> Result<Published> {
        let facts = Facts {
            size_bytes: self.size_bytes,
            sha256: self.digests.sha256,
            media_type: self.media_type,
            uploaded_at,
        };
        match self.place {
            StagedPlace::Folder(staged) => staged.publish(facts).await,
            StagedPlace::Bucket(parts) => parts.publish(facts).await,
        }
    }

    /// Gives up; when this returns, nothing of the upload is left.
    pub async fn abandon(self) {
        match self.place {
            StagedPlace::Folder(staged) => staged.abandon().await,
            StagedPlace::Bucket(parts) => parts.abandon().await,
        }
    }
}

impl Download {
    /// What is known of the archive.
    pub const fn facts(&self) -> &Facts {
        ask!(self, download => &download.facts)
    }

    /// The bytes of `range`, which lies within the archive.
    pub fn into_stream(self, range: Range<u64>) -> ByteStream {
        ask!(self, download => download.into_stream(range))
    }

    /// The same, for who can have the system send parts of files.
    pub fn into_pieces(self, range: Range<u64>) -> PieceStream {
        match self {
            Self::Folder(download) => download.into_pieces(range),
            Self::Bucket(download) => {
                let bytes = download.into_stream(range);
                bytes.map(|bytes| bytes.map(Piece::Bytes)).boxed()
            }
        }
    }
}
