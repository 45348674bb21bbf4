//! The store in a folder of this machine: how it is opened, claimed and shared.
//!
//! Bytes become durable in [`publish`], and only [`mod@sweep`] deletes an archive. One server runs on a
//! store at a time; it holds the folder's lock. Commands that read, sweep or keep records may work
//! beside it, since none of them publishes an archive.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::clock::Timestamp;
use crate::digest::Digester;
use crate::source::SourceId;
use crate::store::{ArchiveCounts, Audit, Download, StoreError, Swept, Upload, UploadStart};

mod audit;
mod download;
mod faults;
mod footer;
mod layout;
mod publish;
mod records;
mod stage;
mod sweep;
mod turns;
mod upload;

pub use download::{FilePart, FolderDownload, MAX_PART_BYTES};
#[cfg(feature = "faults")]
pub use faults::{Faults, Hook, Verdict};
pub use publish::StagedFile;
pub use upload::FolderUpload;

#[cfg(not(feature = "faults"))]
use faults::Faults;
use layout::{ExpirySecond, Layout};
use stage::StageFile;
use turns::Turns;

/// Whether what is published outlives a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sync {
    /// Files and folders are synced to the device before an upload is answered.
    On,
    /// They are written, and outlive the server's end by any signal, but not a power cut.
    Off,
}

/// A folder that keeps archives and records. Clones are the same store.
#[derive(Clone, Debug)]
pub struct FolderStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    layout: Layout,
    sync: Sync,
    keep_free_bytes: u64,
    faults: Faults,
    /// What is being written just now, and may not be seen on the file system yet.
    writing_bytes: AtomicU64,
    /// Seconds whose folder is known to be there, durably. Held while a folder is made or removed.
    seconds: Mutex<HashSet<ExpirySecond>>,
    /// Who publishes to which source just now.
    turns: Turns,
    /// The locked file, once this process has claimed the store.
    claim: Mutex<Option<File>>,
}

impl FolderStore {
    /// Opens the store in `root`, making it with mode 0700 if it is not there. An upload that would
    /// leave less than `keep_free_bytes` free on its file system is refused.
    pub fn open(root: PathBuf, sync: Sync, keep_free_bytes: u64) -> Result<Self, StoreError> {
        Self::open_with(root, sync, keep_free_bytes, Faults::default())
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
        let shared = Shared {
            layout: Layout::below(root),
            sync,
            keep_free_bytes,
            faults,
            writing_bytes: AtomicU64::new(0),
            seconds: Mutex::default(),
            turns: Turns::default(),
            claim: Mutex::default(),
        };
        shared.make_folder(shared.layout.root(), Parents::Make)?;
        for folder in shared.layout.folders() {
            shared.make_folder(&folder, Parents::AreThere)?;
        }
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Where this store keeps its own key ring.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.shared.layout.keys()
    }

    /// Where a first start that nobody watches leaves the API token that it makes.
    #[must_use]
    pub fn first_token_file(&self) -> PathBuf {
        self.shared.layout.first_token()
    }

    pub(super) async fn claim(&self) -> Result<u64, StoreError> {
        self.run(|shared| {
            shared.lock()?;
            // Names that an earlier server published may not be durable yet, if it was killed before
            // it could sync them, or ran without syncing. From now on readers see them.
            shared.sync_file_system()?;
            stage::remove_leftovers(shared)
        })
        .await
    }

    pub(super) async fn begin_upload(
        &self,
        source: SourceId,
        declared_bytes: Option<u64>,
        digester: Digester,
    ) -> Result<UploadStart, StoreError> {
        self.run(move |shared| {
            if let Some(existing) = download::open(shared, source)? {
                return Ok(UploadStart::AlreadyUploaded(existing.facts));
            }
            shared.check_room(declared_bytes.unwrap_or(0))?;
            let stage = StageFile::create(shared)?;
            let upload = FolderUpload::new(Arc::clone(shared), source, stage, digester);
            Ok(UploadStart::Accepted(Upload::Folder(upload)))
        })
        .await
    }

    pub(super) async fn open_download(
        &self,
        source: SourceId,
    ) -> Result<Option<Download>, StoreError> {
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
        self.run(|shared| audit::audit(shared)).await
    }

    pub(super) async fn room_bytes(&self) -> Result<u64, StoreError> {
        self.run(|shared| Ok(shared.free_bytes()?.saturating_sub(shared.keep_free_bytes)))
            .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Shared>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        run_blocking(move || work(&shared)).await
    }
}

/// Runs file-system work where it may block.
async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    settle(tokio::task::spawn_blocking(work).await)
}

/// What a blocking task gave; its panic goes on in the task that asked for it.
fn settle<T>(
    joined: Result<Result<T, StoreError>, tokio::task::JoinError>,
) -> Result<T, StoreError> {
    match joined {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(StoreError::Ending),
        },
    }
}

/// Whether the folders above one that is made may be missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parents {
    Make,
    AreThere,
}

impl Shared {
    /// Takes the lock that a server holds for as long as it runs; the system frees it however the
    /// server ends.
    fn lock(&self) -> Result<(), StoreError> {
        let path = self.layout.lock();
        let mut options = stage::private_file();
        options.create(true).truncate(false);
        let file = self
            .faults
            .call("open", || options.open(&path))
            .map_err(|error| self.error("open", &path, error))?;
        let locked = self.faults.call("flock", || Ok(file.try_lock()));
        match locked.unwrap_or_else(|error| Err(TryLockError::Error(error))) {
            Ok(()) => {
                *self.claim.lock().expect("no panic while it is held") = Some(file);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
                path: self.layout.root().to_owned(),
            }),
            Err(TryLockError::Error(error)) => Err(self.error("lock", &path, error)),
        }
    }

    /// Makes a folder, durably, unless it is there. Each that is made needs its name synced in the one
    /// above, or a power cut takes all that is below it.
    fn make_folder(&self, path: &Path, parents: Parents) -> Result<(), StoreError> {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if parents == Parents::Make && !parent.exists() {
            self.make_folder(parent, parents)?;
        }
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        match self.faults.call("mkdir", || builder.create(path)) {
            Ok(()) => self.sync_folder(parent),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                match fs::metadata(path) {
                    Ok(there) if there.is_dir() => Ok(()),
                    Ok(_) => Err(self.error("make the folder", path, error)),
                    Err(error) => Err(self.error("inspect", path, error)),
                }
            }
            Err(error) => Err(self.error("make the folder", path, error)),
        }
    }

    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &Path) -> Result<(), StoreError> {
        match self.sync {
            Sync::On => self
                .faults
                .call("fsync", || File::open(path)?.sync_all())
                .map_err(|error| self.error("sync the folder", path, error)),
            Sync::Off => Ok(()),
        }
    }

    /// Makes everything durable that is on the store's file system.
    fn sync_file_system(&self) -> Result<(), StoreError> {
        let root = self.layout.root();
        match self.sync {
            Sync::On => self
                .faults
                .call("syncfs", || Ok(rustix::fs::syncfs(File::open(root)?)?))
                .map_err(|error| self.error("sync the file system of", root, error)),
            Sync::Off => Ok(()),
        }
    }

    /// Makes a file's bytes durable.
    fn sync_file(&self, file: &File, path: &Path) -> Result<(), StoreError> {
        match self.sync {
            Sync::On => self
                .faults
                .call("fdatasync", || file.sync_data())
                .map_err(|error| self.error("sync", path, error)),
            Sync::Off => Ok(()),
        }
    }

    /// What is free on the file system, for users without privileges.
    fn free_bytes(&self) -> Result<u64, StoreError> {
        let root = self.layout.root();
        let stat = self
            .faults
            .call("statvfs", || Ok(rustix::fs::statvfs(root)?))
            .map_err(|error| self.error("ask for the free space of", root, error))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Is there room for `more_bytes`, beyond what is kept free and what others are writing?
    fn check_room(&self, more_bytes: u64) -> Result<(), StoreError> {
        let free_bytes = self.free_bytes()?;
        let needed_bytes = self
            .keep_free_bytes
            .saturating_add(self.writing_bytes.load(Ordering::Relaxed))
            .saturating_add(more_bytes);
        if free_bytes < needed_bytes {
            return Err(StoreError::NoRoom {
                free_bytes,
                keep_free_bytes: self.keep_free_bytes,
            });
        }
        Ok(())
    }

    /// An error of the system; one that means "full" is told as such.
    fn error(&self, doing: &'static str, path: &Path, source: io::Error) -> StoreError {
        let is_full = matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        if is_full {
            return StoreError::NoRoom {
                free_bytes: 0,
                keep_free_bytes: self.keep_free_bytes,
            };
        }
        StoreError::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// Removes a file; says whether it was there.
    fn remove_file(&self, path: &Path) -> Result<Removal, StoreError> {
        match self.faults.call("unlink", || fs::remove_file(path)) {
            Ok(()) => Ok(Removal::Removed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Removal::WasGone),
            Err(error) => Err(self.error("delete", path, error)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removal {
    Removed,
    WasGone,
}
