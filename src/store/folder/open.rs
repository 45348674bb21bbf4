//! How a store in a folder is opened, and claimed by the one server that runs on it.

use std::fs::{self, TryLockError};
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::faults::Faults;
use super::layout::Layout;
use super::shared::{Claim, FolderStore, Sync, id_of};
use super::stage::{StageFile, remove_leftovers};
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
        let store = Arc::new(store);
        match store.probe_links() {
            Err(error) if error.is_for_want_of_links() => Err(error),
            // A store that is full can be served.
            Ok(()) | Err(_) => Ok(store),
        }
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
            // A sweep by a command looks for it, and must not make it: another user may run that.
            store.open_lock(&store.layout.pins_lock())?;
            // Names that an earlier server published may not be durable yet, if it was killed before
            // it could sync them, or ran without syncing. From now on readers see them.
            store.sync_file_system()?;
            remove_leftovers(store, &store.layout.drafts())?;
            let lost = store.load_attempts()?;
            Ok(lost + remove_leftovers(store, &store.layout.stage())?)
        };
        self.run(Work::Look, claim).await
    }

    /// Each upload ends with a link, so a file system without any is found out before the first.
    fn probe_links(self: &Arc<Self>) -> Result<()> {
        let file = StageFile::create(self, &self.layout.drafts())?;
        let link = Layout::staged(&self.layout.drafts(), rand::random());
        self.call("link", "link", &link, || fs::hard_link(file.path(), &link))?;
        self.remove_file(&link).map(drop)
    }

    /// Can it be asked, and written to? One that is full serves on, and has room again by itself.
    pub(crate) async fn check_ready(self: &Arc<Self>) -> Result<()> {
        self.room_bytes().await?;
        let draft = |store: &Arc<Self>| match StageFile::create(store, &store.layout.drafts()) {
            Ok(_) | Err(StoreError::DiskFull { .. }) => Ok(()),
            // The name of the draft says nothing, and is another each time.
            Err(StoreError::ReadOnly { source, .. }) => Err(StoreError::ReadOnly {
                doing: "write to",
                path: store.layout.root().to_owned(),
                source,
            }),
            Err(error) => Err(error),
        };
        self.run(Work::Look, draft).await
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
        let id = self.call("fstat", "inspect", &path, || {
            file.metadata().map(|file| id_of(&file))
        })?;
        self.claim.get_or_init(|| Claim { id, _file: file });
        Ok(())
    }
}
