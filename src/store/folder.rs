//! The store in a folder of this machine: how it is opened, claimed and shared.
//!
//! Bytes become durable in [`publish`], and only [`mod@sweep`] deletes an archive. One server runs on a
//! store at a time; it holds the folder's lock. Commands that read, sweep or keep documents may work
//! beside it, since none of them publishes an archive.

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::digest::Digester;
use crate::source::SourceId;
use crate::store::archive::{ArchiveCounts, Audit, Download, Swept, UploadStart};
use crate::store::error::StoreError;

mod audit;
mod documents;
mod download;
mod faults;
pub mod footer;
pub mod layout;
mod publish;
mod room;
mod seconds;
mod shared;
mod stage;
mod sweep;
mod threads;
mod turns;
mod upload;

pub use download::{FilePart, FolderDownload, MAX_PART_BYTES, Piece, PieceStream};
#[cfg(feature = "faults")]
pub use faults::{Faults, Hook, Verdict};
pub use publish::StagedFile;
pub use shared::Sync;
pub use threads::BLOCKING_THREADS;
pub use upload::FolderUpload;

#[cfg(not(feature = "faults"))]
use faults::Faults;
use shared::Shared;
use threads::Work;

/// A folder that keeps archives and documents. Clones are the same store.
#[derive(Clone, Debug)]
pub struct FolderStore {
    shared: Arc<Shared>,
}

impl FolderStore {
    /// Opens the store in `root`, making it with mode 0700 if it is not there. An upload that would
    /// leave less than `keep_free_bytes` free on its file system is refused.
    pub fn open(root: PathBuf, sync: Sync, keep_free_bytes: u64) -> Result<Self, StoreError> {
        Self::open_with(root, sync, keep_free_bytes, Faults::default())
    }

    /// Opens the store in `root` for a command beside its server, or without one: makes none.
    pub fn open_existing(root: PathBuf) -> Result<Self, StoreError> {
        let shared = Shared::new(root, Sync::On, 0, Faults::default());
        shared.check_is_store()?;
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The same, for a test that makes its calls fail.
    #[cfg(feature = "faults")]
    pub fn open_failing(
        root: PathBuf,
        sync: Sync,
        keep_free_bytes: u64,
        faults: Faults,
    ) -> Result<Self, StoreError> {
        Self::open_with(root, sync, keep_free_bytes, faults)
    }

    fn open_with(
        root: PathBuf,
        sync: Sync,
        keep_free_bytes: u64,
        faults: Faults,
    ) -> Result<Self, StoreError> {
        let shared = Shared::new(root, sync, keep_free_bytes, faults);
        shared.make_root()?;
        shared.make_folders()?;
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Where this store keeps its own key ring.
    pub fn key_file(&self) -> PathBuf {
        self.shared.layout.keys()
    }

    /// Where a first start that nobody watches leaves the API token that it makes.
    pub fn first_token_file(&self) -> PathBuf {
        self.shared.layout.first_token()
    }

    pub(super) async fn claim(&self) -> Result<u64, StoreError> {
        self.run(|shared| {
            shared.lock()?;
            // Names that an earlier server published may not be durable yet, if it was killed before
            // it could sync them, or ran without syncing. From now on readers see them.
            shared.sync_file_system()?;
            stage::remove_leftovers(shared, &shared.layout.drafts())?;
            stage::remove_leftovers(shared, &shared.layout.stage())
        })
        .await
    }

    pub(super) async fn begin_upload(
        &self,
        source: SourceId,
        announced_bytes: Option<u64>,
        digester: Digester,
    ) -> Result<UploadStart<FolderUpload>, StoreError> {
        let begin = move |shared: &Arc<Shared>| {
            if let Some(existing) = download::open(shared, source)? {
                return Ok(UploadStart::AlreadyUploaded(existing.facts));
            }
            let upload = FolderUpload::begin(shared, source, announced_bytes, digester)?;
            Ok(UploadStart::Accepted(upload))
        };
        self.shared.run(Work::Write, begin).await
    }

    pub(super) async fn open_download(
        &self,
        source: SourceId,
    ) -> Result<Option<Download<FolderDownload>>, StoreError> {
        match download::open_cached(&self.shared, source) {
            Some(found) => found,
            None => self.run(move |shared| download::open(shared, source)).await,
        }
    }

    pub(super) async fn sweep(&self, now: Timestamp) -> Result<Swept, StoreError> {
        self.run(move |shared| sweep::sweep(shared, now)).await
    }

    pub(super) async fn count(&self, now: Timestamp) -> Result<ArchiveCounts, StoreError> {
        self.run(move |shared| sweep::count(shared, now)).await
    }

    pub(super) async fn audit(&self) -> Result<Audit, StoreError> {
        self.run(audit::audit).await
    }

    pub(super) async fn room_bytes(&self) -> Result<u64, StoreError> {
        self.run(|shared| shared.room.unreserved_bytes()).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Shared>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.shared.run(Work::Look, work).await
    }
}
