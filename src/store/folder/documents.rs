//! Documents as files: written aside, synced, and put in place whole.
//!
//! Whoever replaces or deletes one holds a lock while they look at what is there and act on it, so that
//! nobody comes between. It is a lock on a file, since `waystation token` may run beside a server. No
//! sync is waited for with the lock held: a slow disk makes only those wait who write.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use object_store::UpdateVersion;
use sha2::{Digest as _, Sha256};

use super::shared::{FolderStore, open_to_read};
use super::stage::StageFile;
use super::threads::Work;
use crate::error_chain::chain;
use crate::store::document::{
    Collection, DocumentKey, DocumentName, Expected, MAX_DOCUMENT_BYTES, Version, Versioned,
    Written,
};
use crate::store::error::Result;

/// How often a server that starts may take a draft away before writing the document fails.
const DRAFT_ATTEMPTS: u32 = 3;

impl FolderStore {
    pub(crate) async fn read_document(
        self: &Arc<Self>,
        key: &DocumentKey,
    ) -> Result<Option<Versioned<Vec<u8>>>> {
        let path = self.layout.document(key);
        let read = move |store: &Arc<Self>| store.read_at(&path);
        self.run(Work::Look, read).await
    }

    pub(crate) async fn write_document(
        self: &Arc<Self>,
        key: &DocumentKey,
        content: Vec<u8>,
        expected: Expected,
    ) -> Result<Written> {
        let key = key.clone();
        let write = move |store: &Arc<Self>| store.place(&key, &content, &expected);
        self.run(Work::Look, write).await
    }

    pub(crate) async fn list_documents(
        self: &Arc<Self>,
        collection: Collection,
        after: Option<&DocumentName>,
        limit: usize,
    ) -> Result<Vec<DocumentName>> {
        let folder = self.layout.documents(collection);
        let after = after.cloned();
        let list = move |store: &Arc<Self>| {
            let names = store.list_names(&folder)?;
            let names = names.iter().filter_map(|name| DocumentName::parse(name));
            let mut names: Vec<_> = names.filter(|name| Some(name) > after.as_ref()).collect();
            names.sort();
            names.truncate(limit);
            Ok(names)
        };
        self.run(Work::Look, list).await
    }

    pub(crate) async fn delete_document(self: &Arc<Self>, key: &DocumentKey) -> Result<()> {
        let key = key.clone();
        let delete = move |store: &Arc<Self>| store.remove(&key);
        self.run(Work::Look, delete).await
    }

    /// At most one byte more than a document may have.
    fn read_at(&self, path: &Path) -> Result<Option<Versioned<Vec<u8>>>> {
        let mut value = Vec::new();
        let read = || {
            let mut file = open_to_read(path)?.take(MAX_DOCUMENT_BYTES as u64 + 1);
            file.read_to_end(&mut value)
        };
        match self.call("read", "read", path, read) {
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        }
        let version = Version(UpdateVersion {
            e_tag: Some(hex::encode(Sha256::digest(&value))),
            version: None,
        });
        Ok(Some(Versioned { value, version }))
    }

    /// Documents are written beside a server that may be starting, and then takes away all drafts: so one
    /// may have to be drafted again.
    fn place(
        self: &Arc<Self>,
        key: &DocumentKey,
        content: &[u8],
        expected: &Expected,
    ) -> Result<Written> {
        let folder = self.layout.documents(key.collection);
        let path = self.layout.document(key);
        if *expected == Expected::Absent {
            self.make_collection(&folder)?;
        }
        let mut attempt = 1;
        let written = loop {
            let mut draft = StageFile::create(self, &self.layout.drafts())?;
            draft.write(content)?;
            draft.sync()?;
            let placed = match expected {
                Expected::Absent => self.place_new(draft.path(), &folder, &path),
                Expected::Version(version) => self.place_over(draft.path(), &path, version),
            };
            let is_lost = matches!(&placed, Err(error) if error.is_not_found());
            if !is_lost || attempt == DRAFT_ATTEMPTS || draft.path().exists() {
                break placed?;
            }
            attempt += 1;
        };
        if written == Written::Done
            && let Err(error) = self.sync_written(&folder)
        {
            if *expected == Expected::Absent {
                self.take_back(key);
            }
            return Err(error);
        }
        Ok(written)
    }

    /// Makes the folder of a collection, and the one that it is in: a store that an older version made has not all
    /// of these. The store's own folder is not made: without it, the store is gone. The name of one that is below another is
    /// made durable with the document.
    fn make_collection(&self, folder: &Path) -> Result<()> {
        let parent = folder.parent();
        let Some(parent) = parent.filter(|parent| *parent != self.layout.root()) else {
            return self.make_folder(folder);
        };
        match self.make_name(folder) {
            Err(error) if error.is_not_found() => {
                self.make_folder(parent)?;
                self.make_name(folder).map(drop)
            }
            made => made.map(drop),
        }
    }

    /// A link is made only where nothing is, so this needs no lock, but where the folder has just gone with the last
    /// document in it: with the lock held, it stays.
    fn place_new(&self, draft: &Path, folder: &Path, path: &Path) -> Result<Written> {
        match self.link_new(draft, path) {
            Err(error) if error.is_not_found() && draft.exists() => {
                let _lock = self.take_lock(&self.layout.documents_lock())?;
                self.make_collection(folder)?;
                self.link_new(draft, path)
            }
            placed => placed,
        }
    }

    fn link_new(&self, draft: &Path, path: &Path) -> Result<Written> {
        match self.call("link", "write", path, || fs::hard_link(draft, path)) {
            Err(error) if error.io_kind() == Some(io::ErrorKind::AlreadyExists) => {
                Ok(Written::Conflict)
            }
            linked => linked.map(|()| Written::Done),
        }
    }

    fn place_over(&self, draft: &Path, path: &Path, version: &Version) -> Result<Written> {
        let _lock = self.take_lock(&self.layout.documents_lock())?;
        if self
            .read_at(path)?
            .is_none_or(|found| found.version != *version)
        {
            return Ok(Written::Conflict);
        }
        self.call("rename", "write", path, || fs::rename(draft, path))?;
        Ok(Written::Done)
    }

    /// The folder of a collection goes with the last document in it.
    fn remove(&self, key: &DocumentKey) -> Result<()> {
        let folder = self.layout.documents(key.collection);
        let lock = self.take_lock(&self.layout.documents_lock())?;
        let is_removed = self.remove_file(&self.layout.document(key))?;
        if is_removed && folder.parent() != Some(self.layout.root()) {
            self.remove_if_empty(&folder)?;
        }
        drop(lock);
        // Also if it was gone: whoever removed it may not have synced that yet.
        match self.sync_collection(&folder) {
            Err(error) if error.is_not_found() && !is_removed => Ok(()),
            synced => synced,
        }
    }

    /// Makes a document durable that was just put into a collection: its name, and that of the folder, which another may
    /// have made who has not synced it yet, or was killed.
    fn sync_written(&self, folder: &Path) -> Result<()> {
        self.sync_collection(folder)?;
        match folder.parent() {
            Some(parent) if parent != self.layout.root() => self.sync_folder(parent),
            _ => Ok(()),
        }
    }

    /// Makes what is in a collection durable; or that its folder is gone, which another may have removed.
    fn sync_collection(&self, folder: &Path) -> Result<()> {
        match (self.sync_folder(folder), folder.parent()) {
            (Err(error), Some(parent)) if error.is_not_found() && parent != self.layout.root() => {
                self.sync_folder(parent)
            }
            (synced, _) => synced,
        }
    }

    /// Removes a document that was created and is not known to be durable: whoever asked for it learns
    /// that there is none.
    fn take_back(&self, key: &DocumentKey) {
        if let Err(error) = self.remove(key) {
            tracing::error!(
                error = chain(&error),
                "a document stays although its creation was refused"
            );
        }
    }
}
