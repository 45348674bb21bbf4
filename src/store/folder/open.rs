//! How a store in a folder is opened, and claimed by the one server that runs on it.

use std::fs::{self, TryLockError};
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::faults::Faults;
use super::shared::{FolderStore, Sync};
use super::stage;
use super::threads::Work;
use crate::store::error::{Result, StoreError};

impl FolderStore {
    /// Opens the store in `root`, making it with mode 0700 if it is not there. An upload that would
    /// leave less than `keep_free_bytes` free on its file system is refused.
    pub fn open(root: PathBuf, sync: Sync, keep_free_bytes: u64) -> Result<Arc<Self>> {
        Self::open_failing(root, sync, keep_free_bytes, Faults::default())
    }

    /// The same, for a test that makes its calls fail.
    pub fn open_failing(
        root: PathBuf,
        sync: Sync,
        keep_free_bytes: u64,
        faults: Faults,
    ) -> Result<Arc<Self>> {
        let store = Self::new(root, sync, keep_free_bytes, faults);
        store.make_with_parents(store.layout.root())?;
        store.make_folders()?;
        Ok(Arc::new(store))
    }

    /// Opens the store in `root` for a command beside its server, or without one. Makes none: a command
    /// would else report on an empty one where a path is wrong.
    pub fn open_existing(root: PathBuf) -> Result<Arc<Self>> {
        let store = Self::new(root, Sync::On, 0, Faults::default());
        let sources = store.layout.sources();
        match store.call("stat", "inspect", &sources, || fs::metadata(&sources)) {
            Ok(_) => Ok(Arc::new(store)),
            Err(error) if matches!(error.io_kind(), Some(NotFound | NotADirectory)) => {
                Err(StoreError::NoStore {
                    path: store.layout.root().to_owned(),
                })
            }
            Err(error) => Err(error),
        }
    }

    /// The user and the group of the server that runs on this store: it made the folders in it.
    pub fn owner(&self) -> Result<(u32, u32)> {
        let sources = self.layout.sources();
        let metadata = self.call("stat", "inspect", &sources, || fs::metadata(&sources))?;
        Ok((metadata.uid(), metadata.gid()))
    }

    pub(crate) async fn claim(self: &Arc<Self>) -> Result<u64> {
        let claim = |store: &Arc<Self>| {
            store.lock()?;
            // Names that an earlier server published may not be durable yet, if it was killed before
            // it could sync them, or ran without syncing. From now on readers see them.
            store.sync_file_system()?;
            stage::remove_leftovers(store, &store.layout.drafts())?;
            stage::remove_leftovers(store, &store.layout.stage())
        };
        self.run(Work::Look, claim).await
    }

    /// Takes the lock that a server holds for as long as it runs; the system frees it however the
    /// server ends.
    fn lock(&self) -> Result<()> {
        let path = self.layout.lock();
        let file = self.open_lock(&path)?;
        let lock = || match file.try_lock() {
            Err(TryLockError::Error(error)) => Err(error),
            locked => Ok(locked.is_ok()),
        };
        if !self.call("flock", "lock", &path, lock)? {
            return Err(StoreError::InUse {
                path: self.layout.root().to_owned(),
            });
        }
        self.claim.get_or_init(|| file);
        Ok(())
    }
}
