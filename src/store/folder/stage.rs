//! Files that are written before they get their name: the stage.
//!
//! A [`StageFile`] is removed when it is dropped, on every path; publishing gives its inode another
//! name first. That of an attempt to upload in parts stays, for others to go on with. What a crash leaves is removed by the next server, before it accepts anything.

use std::fs::File;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, fadvise};

use super::hold::{Hold, Leaving};
use super::layout::{Layout, is_staged};
use super::shared::{FolderStore, private_file};
use crate::error_chain::chain;
use crate::store::attempt::Saved;
use crate::store::error::{Result, StoreError};

/// After how many bytes the device is told to begin with them.
const WRITEBACK_BYTES: u64 = 8 * 1024 * 1024;
/// The same of an upload in parts: each part ends with a sync, whose client waits for what is left to write.
const PART_WRITEBACK_BYTES: u64 = 2 * 1024 * 1024;

/// A file in the stage, and the duty to remove it.
#[derive(Debug)]
pub(super) struct StageFile {
    store: Arc<FolderStore>,
    file: File,
    path: PathBuf,
    written_bytes: u64,
    /// Up to where the system has been told to begin writing to the device.
    begun_bytes: u64,
    /// The attempt that it belongs to, if it does.
    hold: Option<Hold>,
}

impl StageFile {
    /// Makes an empty one under a new name, in a folder that somebody may have removed.
    pub(super) fn create(store: &Arc<FolderStore>, folder: &Path) -> Result<Self> {
        match Self::try_create(store, folder) {
            Err(error) if error.is_not_found() => {
                store.make_folders()?;
                Self::try_create(store, folder)
            }
            created => created,
        }
    }

    fn try_create(store: &Arc<FolderStore>, folder: &Path) -> Result<Self> {
        store.check_there()?;
        let path = Layout::staged(folder, rand::random());
        let mut options = private_file();
        options.create_new(true);
        let file = store.call("create", "create", &path, || options.open(&path))?;
        Ok(Self {
            store: Arc::clone(store),
            file,
            path,
            written_bytes: 0,
            begun_bytes: 0,
            hold: None,
        })
    }

    /// The file of an attempt, which has so many bytes already.
    pub(super) fn going_on(
        store: &Arc<FolderStore>,
        file: File,
        path: PathBuf,
        written_bytes: u64,
        hold: Hold,
    ) -> Self {
        Self {
            store: Arc::clone(store),
            file,
            path,
            written_bytes,
            begun_bytes: written_bytes,
            hold: Some(hold),
        }
    }

    /// Makes its bytes durable, and then that an attempt has them.
    pub(super) fn save(&mut self, saved: Saved) -> Result<()> {
        self.sync()?;
        match &mut self.hold {
            Some(hold) => hold.save(saved),
            None => Ok(()),
        }
    }

    /// How far its attempt is, durably, if it belongs to one.
    pub(super) fn saved(&self) -> Option<&Saved> {
        self.hold.as_ref().map(|hold| &hold.saved)
    }

    /// What is to become of its attempt, if it belongs to one.
    pub(super) const fn leave(&mut self, leaving: Leaving) {
        if let Some(hold) = &mut self.hold {
            hold.leaving = leaving;
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.store.faults.write_all(&self.file, bytes);
        written.map_err(|error| StoreError::of_system("write", "write", &self.path, error))?;
        self.written_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Lets the device begin with what has been written, so that the sync at the end finds little to do.
    pub(super) fn begin_sync(&mut self) {
        let fresh_bytes = self.written_bytes - self.begun_bytes;
        let enough_bytes = match self.hold {
            Some(_) => PART_WRITEBACK_BYTES,
            None => WRITEBACK_BYTES,
        };
        if let Some(length) = NonZeroU64::new(fresh_bytes)
            && fresh_bytes >= enough_bytes
        {
            // Of pages that are not on the device yet, this drops none: it starts to write them. It is
            // a hint; that it worked is not relied on.
            let _ = fadvise(&self.file, self.begun_bytes, Some(length), Advice::DontNeed);
            self.begun_bytes = self.written_bytes;
        }
    }

    pub(super) fn sync(&self) -> Result<()> {
        self.store.sync_file(&self.file, &self.path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for StageFile {
    fn drop(&mut self) {
        match &mut self.hold {
            Some(hold) if hold.leaving == Leaving::Stays => return,
            Some(hold) if hold.leaving == Leaving::Cancelled => hold.remove_state(),
            Some(_) | None => {}
        }
        if let Err(error) = self.store.remove_file(&self.path) {
            tracing::error!(
                error = chain(&error),
                "a staged file stays until the next start"
            );
        }
    }
}

/// Removes what uploads of an earlier server, or writers of documents, have left in `folder`. Only with
/// the store's lock held: then no upload can be under way.
pub(super) fn remove_leftovers(store: &FolderStore, folder: &Path) -> Result<u64> {
    let mut removed = 0;
    for name in store.list_names(folder)? {
        if is_staged(&name) && store.remove_file(&folder.join(name))? {
            removed += 1;
        }
    }
    Ok(removed)
}
