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
//!
//! What holds for documents stands in [`documents`].
//!
//! A store knows nothing of HTTP, grants, limits on size, or what time it is.

use std::error::Error;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::clock::Timestamp;
use crate::digest::{Digester, Digests};
use crate::error_chain::chain;
use crate::media::MediaType;
use crate::secret::Secret;
use crate::source::{Facts, SourceId};

pub mod bucket;
pub mod document;
pub mod documents;
pub mod folder;

pub use bucket::BucketStore;
pub use document::{
    Collection, DocumentKey, DocumentName, Expected, MAX_DOCUMENT_BYTES, Updated, Version,
    Versioned, Written,
};
pub use folder::{FilePart, FolderStore, MAX_PART_BYTES};

/// Expired sources are to be gone from a bucket within a minute: a sweep each so often, and the grace.
const BUCKET_SWEEP_INTERVAL: Duration = Duration::from_secs(20);

/// A place where archives and documents are kept. Cheap to clone; clones are the same store.
#[derive(Clone, Debug)]
pub enum Store {
    /// A folder of this machine.
    Folder(FolderStore),
    /// A bucket of an object store.
    Bucket(BucketStore),
}

/// What a store answers to the wish to upload.
#[derive(Debug)]
pub enum UploadStart {
    /// Nothing is there yet: send the bytes here.
    Accepted(Upload),
    /// The source has its archive already.
    AlreadyUploaded(Facts),
}

/// An upload under way. Dropping it abandons it: nothing of it stays.
#[derive(Debug)]
pub enum Upload {
    /// In a folder.
    Folder(folder::FolderUpload),
    /// In a bucket.
    Bucket(Box<bucket::BucketUpload>),
}

/// An upload whose last byte has been taken in, but which is not published.
#[derive(Debug)]
pub struct Staged {
    /// How many bytes there were.
    pub size_bytes: u64,
    /// Their digests.
    pub digests: Digests,
    /// What they are.
    pub media_type: MediaType,
    place: StagedPlace,
}

#[derive(Debug)]
enum StagedPlace {
    Folder(folder::StagedFile),
    Bucket(bucket::StagedParts),
}

/// How publishing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The source's archive is this upload, durably, with these facts.
    New(Facts),
    /// Another upload was first; these are its facts, and it is durable.
    AlreadyUploaded(Facts),
}

/// An archive opened for reading. It can be read to its end even if it is deleted meanwhile.
#[derive(Debug)]
pub struct Download {
    /// What is known of it.
    pub facts: Facts,
    place: DownloadPlace,
}

#[derive(Debug)]
enum DownloadPlace {
    Folder(folder::FolderDownload),
    Bucket(bucket::BucketDownload),
}

/// The bytes of an archive, in order. An error ends it; fewer bytes than asked for never come
/// without one.
pub type ByteStream = BoxStream<'static, Result<Bytes, StoreError>>;

/// The same archive in pieces, of which some are not read but only pointed at.
pub type PieceStream = BoxStream<'static, Result<Piece, StoreError>>;

/// The next bytes of an archive.
#[derive(Debug)]
pub enum Piece {
    /// Here they are.
    Bytes(Bytes),
    /// They lie in a file, and are in memory as far as can be told.
    InFile(FilePart),
}

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Archives deleted.
    pub sources: u64,
    /// Uploads deleted that never became an archive, where only a sweep can find them.
    pub broken: u64,
    /// Deletions that failed.
    pub failures: u64,
    /// Why the first of them did.
    pub first_failure: Option<String>,
    /// The longest time between an expiry and its deletion.
    pub max_lag: Duration,
}

impl Swept {
    /// Counts deletions that failed with `error`.
    fn note_failures(&mut self, failures: u64, error: &dyn Error) {
        self.failures += failures;
        self.first_failure.get_or_insert_with(|| chain(error));
    }
}

/// How many archives there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveCounts {
    /// Those that have not expired.
    pub live: u64,
    /// Those that have, and are not deleted yet.
    pub expired: u64,
}

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Archives that are whole, as their digest proves.
    pub whole: u64,
    /// Uploads that are under way, or were when the server ended; the next start removes those.
    pub staged: u64,
    /// What should not be there, or not like this, one sentence each.
    pub faults: Vec<String>,
}

/// What goes wrong in a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Taking more in would leave less room than is to be kept free.
    #[error(
        "the store has {free_bytes} bytes free, of which {reserved_bytes} are for uploads under way and {keep_free_bytes} are kept free"
    )]
    NoRoom {
        /// What is free.
        free_bytes: u64,
        /// What uploads have announced and not written yet.
        reserved_bytes: u64,
        /// What has to stay free.
        keep_free_bytes: u64,
    },
    /// The file system, or the quota of the user that runs the server, is full.
    #[error("the disk is full: cannot {doing} {}", path.display())]
    DiskFull {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What is stored is not what was once written.
    #[error("{} is corrupt: {problem}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A command expects a store where none is.
    #[error("{} is no store: check --store, or start 'waystation serve' with it, which makes one", path.display())]
    NoStore {
        /// Where it looked.
        path: PathBuf,
    },
    /// Another server runs on this store.
    #[error("another server is running on the store {}; stop it first, or give this one a store of its own with --store", path.display())]
    InUse {
        /// The store.
        path: PathBuf,
    },
    /// A bucket cannot be used as it is.
    #[error("cannot use the bucket {bucket}: {problem}")]
    Bucket {
        /// Which.
        bucket: String,
        /// What to look at.
        problem: &'static str,
        /// What the object store said.
        source: object_store::Error,
    },
    /// The environment names an object store by what is no URL.
    #[error("{variable} in the environment is no endpoint: {source}")]
    Endpoint {
        /// Where it stands.
        variable: &'static str,
        /// What one looks like.
        source: bucket::NotAnEndpoint,
    },
    /// The object store cannot keep two writers apart.
    #[error(
        "the object store of {bucket} has no conditional writes (If-None-Match, If-Match), so that of two uploads to one source, or two changes of one API token, that are made at once the later one would replace the first; --allow-overwrite goes on without this promise"
    )]
    NoConditionalWrites {
        /// Which bucket.
        bucket: String,
    },
    /// Another program has put a key below the prefix that no list can go past.
    #[error(
        "another program has put the key {key:?} below the prefix of this store, and nothing behind it is found: delete it, and give that program a prefix of its own"
    )]
    ForeignKey {
        /// Which.
        key: String,
    },
    /// The object store does not answer, or not as it should.
    #[error("the object store failed: cannot {doing}")]
    Unreachable {
        /// What was tried.
        doing: &'static str,
        /// What the object store said.
        source: object_store::Error,
    },
    /// A document that is too long to be kept, or to have been.
    #[error("a document of {bytes} bytes is longer than {MAX_DOCUMENT_BYTES}")]
    DocumentTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A document is not what was once written.
    #[error("the document {key} is corrupt")]
    CorruptDocument {
        /// Which.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Others write the same at the same time, again and again.
    #[error("others write the same at the same time")]
    Contended,
    /// The threads that serve the store are being shut down.
    #[error("the server is ending")]
    Ending,
}

impl Store {
    /// Looks whether the place is there, for what does not claim it: an object store that makes
    /// buckets by itself would hide a name that is wrong. A folder is looked at when it is opened.
    pub async fn find(&self) -> Result<(), StoreError> {
        match self {
            Self::Folder(_) => Ok(()),
            Self::Bucket(bucket) => bucket.find().await,
        }
    }

    /// Makes this process the server of the store, where a store can have only one, and removes what
    /// uploads that an earlier server could not end have left. Says how many those were.
    pub async fn claim(&self) -> Result<u64, StoreError> {
        match self {
            Self::Folder(folder) => folder.claim().await,
            Self::Bucket(bucket) => bucket.claim().await,
        }
    }

    /// Starts an upload to `source`, to be fed through `digester`. `declared_bytes` is how long it
    /// says it will be: one that the store has no room for is refused before it sends anything.
    pub async fn begin_upload(
        &self,
        source: SourceId,
        declared_bytes: Option<u64>,
        digester: Digester,
    ) -> Result<UploadStart, StoreError> {
        match self {
            Self::Folder(folder) => folder.begin_upload(source, declared_bytes, digester).await,
            Self::Bucket(bucket) => bucket.begin_upload(source, declared_bytes, digester).await,
        }
    }

    /// Opens the archive of `source`; `None` if there is none (yet, or any more).
    pub async fn open(&self, source: SourceId) -> Result<Option<Download>, StoreError> {
        match self {
            Self::Folder(folder) => folder.open_download(source).await,
            Self::Bucket(bucket) => bucket.open_download(source).await,
        }
    }

    /// Deletes all that expired longer than [`Self::sweep_grace`] before `now`.
    pub async fn sweep(&self, now: Timestamp) -> Result<Swept, StoreError> {
        match self {
            Self::Folder(folder) => folder.sweep(now).await,
            Self::Bucket(bucket) => bucket.sweep(now).await,
        }
    }

    /// Counts the archives, where that costs no more than a look; `None` where it does.
    pub async fn count(&self, now: Timestamp) -> Result<Option<ArchiveCounts>, StoreError> {
        match self {
            Self::Folder(folder) => folder.count(now).await.map(Some),
            Self::Bucket(_) => Ok(None),
        }
    }

    /// The object store's own link, on which `method` can be called until `source` expires; `None` for a
    /// folder, which cannot serve clients.
    pub async fn sign(
        &self,
        source: SourceId,
        method: http::Method,
    ) -> Result<Option<Secret>, StoreError> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::Bucket(bucket) => {
                let link = bucket.sign(source, method).await?;
                Ok(Some(Secret::new(link)))
            }
        }
    }

    /// How long to wait between two sweeps, if `every` is wanted: where each costs a request, and
    /// others sweep too, less often.
    #[must_use]
    pub fn sweep_interval(&self, every: Duration) -> Duration {
        match self {
            Self::Folder(_) => every,
            Self::Bucket(_) => every.max(BUCKET_SWEEP_INTERVAL),
        }
    }

    /// How long a source is left alone after its expiry before a sweep deletes it.
    #[must_use]
    pub const fn sweep_grace(&self) -> Duration {
        match self {
            Self::Folder(_) => Duration::ZERO,
            Self::Bucket(_) => bucket::GRACE,
        }
    }

    /// Reads everything and says what does not fit together.
    pub async fn audit(&self) -> Result<Audit, StoreError> {
        match self {
            Self::Folder(folder) => folder.audit().await,
            Self::Bucket(bucket) => bucket.audit().await,
        }
    }

    /// Can it be used, and what has expired be found?
    pub async fn check_ready(&self) -> Result<(), StoreError> {
        match self {
            Self::Folder(folder) => folder.room_bytes().await.map(drop),
            Self::Bucket(bucket) => bucket.check_ready().await,
        }
    }

    /// How much more it can take in, in bytes, beyond what is kept free; `None` if it has no end. That
    /// there is an answer shows that the store works.
    pub async fn room_bytes(&self) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Folder(folder) => folder.room_bytes().await.map(Some),
            Self::Bucket(bucket) => bucket.check().await.map(|()| None),
        }
    }
}

impl Upload {
    /// Takes the next bytes in. Returns when it can take more: a slow store slows its client.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        match self {
            Self::Folder(upload) => upload.write(chunk).await,
            Self::Bucket(upload) => upload.write(chunk).await,
        }
    }

    /// Gets on with bytes that wait for others before them, and returns when none do. Giving up waiting
    /// for that loses nothing.
    pub async fn catch_up(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Folder(upload) => upload.catch_up().await,
            // What waits is less than a part, and there are no smaller ones but the last.
            Self::Bucket(_) => Ok(()),
        }
    }

    /// All bytes were sent: says what they are.
    pub async fn finish(self) -> Result<Staged, StoreError> {
        match self {
            Self::Folder(upload) => upload.finish().await,
            Self::Bucket(upload) => upload.finish().await,
        }
    }

    /// Gives up; when this returns, nothing of the upload is left.
    pub async fn abandon(self) {
        match self {
            Self::Folder(upload) => upload.abandon().await,
            Self::Bucket(upload) => upload.abandon().await,
        }
    }
}

impl Staged {
    /// Makes the upload the source's archive, if no other was first. Returns when it is durable.
    pub async fn publish(self, uploaded_at: Timestamp) -> Result<Published, StoreError> {
        let facts = Facts {
            size_bytes: self.size_bytes,
            sha256: self.digests.sha256,
            media_type: self.media_type,
            uploaded_at,
        };
        match self.place {
            StagedPlace::Folder(staged) => staged.publish(facts).await,
            StagedPlace::Bucket(staged) => staged.publish(facts).await,
        }
    }

    /// Gives up; when this returns, nothing of the upload is left.
    pub async fn abandon(self) {
        match self.place {
            StagedPlace::Folder(staged) => staged.abandon().await,
            StagedPlace::Bucket(staged) => staged.abandon().await,
        }
    }
}

impl Download {
    /// The bytes of `range`, which lies within the archive.
    #[must_use]
    pub fn into_stream(self, range: Range<u64>) -> ByteStream {
        match self.place {
            DownloadPlace::Folder(download) => download.into_stream(range),
            DownloadPlace::Bucket(download) => download.into_stream(range),
        }
    }

    /// The same, for who can have the system send parts of files.
    #[must_use]
    pub fn into_pieces(self, range: Range<u64>) -> PieceStream {
        match self.place {
            DownloadPlace::Folder(download) => download.into_pieces(range),
            DownloadPlace::Bucket(download) => {
                let bytes = download.into_stream(range);
                bytes.map(|bytes| bytes.map(Piece::Bytes)).boxed()
            }
        }
    }
}
