//! What all parts of a store in a folder share: its settings and state, and the calls to the file system
//! that several of them make.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use super::faults::Faults;
use super::layout::{ExpirySecond, Layout};
use super::room::Room;
use super::threads::{Threads, Work};
use super::turns::Turns;
use crate::store::error::StoreError;

/// Whether what is published outlives a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sync {
    /// Files and folders are synced to the device before an upload is answered.
    On,
    /// They are written, and outlive the server's end by any signal, but not a power cut.
    Off,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) layout: Layout,
    sync: Sync,
    pub(super) faults: Faults,
    pub(super) threads: Threads,
    pub(super) room: Arc<Room>,
    /// Seconds whose folder is there, durably, as far as this process knows.
    pub(super) durable_seconds: Mutex<HashSet<ExpirySecond>>,
    pub(super) turns: Arc<Turns>,
    /// The locked file, once this process has claimed the store.
    claim: OnceLock<File>,
}

/// Whether a folder was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    New,
    WasThere,
}

/// What became of a file that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    Removed,
    WasGone,
}

/// How files of the store are opened for writing: for its owner only.
pub(super) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

impl Shared {
    pub(super) fn new(root: PathBuf, sync: Sync, keep_free_bytes: u64, faults: Faults) -> Self {
        Self {
            room: Arc::new(Room::new(root.clone(), faults.clone(), keep_free_bytes)),
            layout: Layout::below(root),
            sync,
            faults,
            threads: Threads::default(),
            turns: Arc::default(),
            durable_seconds: Mutex::default(),
            claim: OnceLock::new(),
        }
    }

    /// Runs work of this kind where it may wait for the disk.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        kind: Work,
        work: impl FnOnce(&Arc<Self>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(self);
        self.threads.run(kind, move || work(&shared)).await
    }

    /// Takes the lock that a server holds for as long as it runs; the system frees it however the
    /// server ends.
    pub(super) fn lock(&self) -> Result<(), StoreError> {
        let path = self.layout.lock();
        let mut options = private_file();
        options.create(true).truncate(false);
        let file = self
            .faults
            .call("open", || options.open(&path))
            .map_err(|error| io_error("open", &path, error))?;
        let locked = self.faults.call("flock", || Ok(file.try_lock()));
        match locked.unwrap_or_else(|error| Err(TryLockError::Error(error))) {
            Ok(()) => {
                self.claim.get_or_init(|| file);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
                path: self.layout.root().to_owned(),
            }),
            Err(TryLockError::Error(error)) => Err(io_error("lock", &path, error)),
        }
    }

    /// Makes the store's folder, and those above it that are missing.
    pub(super) fn make_root(&self) -> Result<(), StoreError> {
        self.make_with_parents(self.layout.root())
    }

    fn make_with_parents(&self, path: &Path) -> Result<(), StoreError> {
        let parent = parent_of(path);
        if !parent.exists() {
            self.make_with_parents(parent)?;
        }
        self.make_folder(path)
    }

    /// Makes the folders that are always there below it.
    pub(super) fn make_folders(&self) -> Result<(), StoreError> {
        let folders = self.layout.folders();
        folders.iter().try_for_each(|path| self.make_folder(path))
    }

    /// Is there a store? Commands that expect one would else report on an empty one where a path is wrong.
    pub(super) fn check_is_store(&self) -> Result<(), StoreError> {
        use io::ErrorKind::{NotADirectory, NotFound};
        let sources = self.layout.sources();
        match self.faults.call("stat", || fs::metadata(&sources)) {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), NotFound | NotADirectory) => {
                Err(StoreError::NoStore {
                    path: self.layout.root().to_owned(),
                })
            }
            Err(error) => Err(io_error("inspect", &sources, error)),
        }
    }

    /// Makes a folder, durably, unless it is there. Each that is made needs its name synced in the one
    /// above, or a power cut takes all that is below it.
    pub(super) fn make_folder(&self, path: &Path) -> Result<(), StoreError> {
        match self.make_name(path)? {
            Naming::New => self.sync_folder(parent_of(path)),
            Naming::WasThere => Ok(()),
        }
    }

    /// Makes a folder, unless it is there, but not its name durable.
    pub(super) fn make_name(&self, path: &Path) -> Result<Naming, StoreError> {
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        match self.faults.call("mkdir", || builder.create(path)) {
            Ok(()) => Ok(Naming::New),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                match fs::metadata(path) {
                    Ok(there) if there.is_dir() => Ok(Naming::WasThere),
                    Ok(_) => Err(io_error("make the folder", path, error)),
                    Err(error) => Err(io_error("inspect", path, error)),
                }
            }
            Err(error) => Err(io_error("make the folder", path, error)),
        }
    }

    /// Makes the names in a folder durable.
    pub(super) fn sync_folder(&self, path: &Path) -> Result<(), StoreError> {
        self.sync("fsync", "sync the folder", path, || {
            File::open(path)?.sync_all()
        })
    }

    /// Makes everything durable that is on the store's file system.
    pub(super) fn sync_file_system(&self) -> Result<(), StoreError> {
        let root = self.layout.root();
        self.sync("syncfs", "sync the file system of", root, || {
            Ok(rustix::fs::syncfs(File::open(root)?)?)
        })
    }

    /// Makes a file's bytes durable.
    pub(super) fn sync_file(&self, file: &File, path: &Path) -> Result<(), StoreError> {
        self.sync("fdatasync", "sync", path, || file.sync_data())
    }

    fn sync(
        &self,
        name: &'static str,
        doing: &'static str,
        path: &Path,
        call: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), StoreError> {
        match self.sync {
            Sync::On => self.faults.call(name, call),
            Sync::Off => Ok(()),
        }
        .map_err(|error| io_error(doing, path, error))
    }

    /// Removes a file; says whether it was there.
    pub(super) fn remove_file(&self, path: &Path) -> Result<Removal, StoreError> {
        match self.faults.call("unlink", || fs::remove_file(path)) {
            Ok(()) => Ok(Removal::Removed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Removal::WasGone),
            Err(error) => Err(io_error("delete", path, error)),
        }
    }

    /// The names in a folder; none if it is not there.
    pub(super) fn list_names(&self, folder: &Path) -> Result<Vec<OsString>, StoreError> {
        let list = || {
            fs::read_dir(folder)?
                .map(|entry| Ok(entry?.file_name()))
                .collect()
        };
        match self.faults.call("getdents", list) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => names.map_err(|error| io_error("list", folder, error)),
        }
    }
}

/// The folder in which a path has its name.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// An error of the system; one that means "full" is reported as such.
pub(super) fn io_error(doing: &'static str, path: &Path, source: io::Error) -> StoreError {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    let path = path.to_owned();
    if matches!(source.kind(), StorageFull | QuotaExceeded) {
        return StoreError::DiskFull { doing, path };
    }
    StoreError::Io {
        doing,
        path,
        source,
    }
}

pub(super) fn is_not_found(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}
