//! A store in a folder, made to fail, and looked at from outside.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use waystation::source::SourceId;
use waystation::store::folder::Sync;
use waystation::store::{FolderStore, Store, StoreError};

use super::trouble::Trouble;
use waystation_testing::store_folder::entries_of;

/// In memory if the system has such a place: there, to sync costs nothing, and is done.
const IN_MEMORY: &str = "/dev/shm";

#[derive(Debug)]
pub(crate) struct Folder {
    folder: TempDir,
    sync: Sync,
}

impl Folder {
    pub(crate) fn new(sync: Sync) -> Self {
        let folder = tempfile::tempdir_in(IN_MEMORY).or_else(|_| tempfile::tempdir());
        Self {
            folder: folder.unwrap(),
            sync,
        }
    }

    /// Opens the store and claims it, as a server that starts. Returns how many leftovers it removed.
    pub(crate) async fn open(&self, trouble: &Trouble) -> Result<(Store, u64), StoreError> {
        let root = self.folder.path().join("store");
        let disk = FolderStore::open_failing(root, self.sync, 0, trouble.faults())?;
        let store = Store::Folder(disk);
        let removed = store.claim().await?;
        Ok((store, removed))
    }

    /// How many documents are not in place yet.
    pub(crate) fn drafts(&self) -> u64 {
        let drafts = self.folder.path().join("store/drafts");
        fs::read_dir(drafts).map_or(0, |entries| entries.count() as u64)
    }

    /// How many files are in the stage.
    pub(crate) fn staged(&self) -> u64 {
        let stage = self.folder.path().join("store/stage");
        fs::read_dir(stage).map_or(0, |entries| entries.count() as u64)
    }

    /// The sources that have a file. Anything else below `sources` but a folder is a fault.
    pub(crate) fn archives(&self) -> BTreeSet<SourceId> {
        let files = self.entries().into_iter().filter(|path| path.is_file());
        files
            .map(|path| path.file_name().unwrap().to_str().unwrap().parse().unwrap())
            .collect()
    }

    /// The names of all journals.
    pub(crate) fn journals(&self) -> Vec<String> {
        let journals = self.folder.path().join("store/journals");
        let entries = fs::read_dir(journals).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string());
        names.map(Result::unwrap).collect()
    }

    /// All files and folders of archives.
    pub(crate) fn entries(&self) -> Vec<PathBuf> {
        entries_of(&self.folder.path().join("store/sources"))
    }
}
