//! Documents as files: written aside, synced, and put in place whole.
//!
//! Whoever replaces or deletes one holds a lock while they look at what is there and act on it, so that
//! nobody comes between. It is a lock on a file, since `waystation token` may run beside a server. No
//! sync is waited for with the lock held: a slow disk makes only those wait who write.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use object_store::UpdateVersion;
use sha2::{Digest as _, Sha256};

use super::FolderStore;
use super::shared::{Removal, Shared, io_error, private_file};
use super::stage::StageFile;
use super::threads::Work;
use crate::error_chain::chain;
use crate::store::document::{
    Collection, DocumentKey, DocumentName, Expected, MAX_DOCUMENT_BYTES, Version, Versioned,
    Written, check_length,
};
use crate::store::error::StoreError;

/// How often a server that starts may take a draft away before writing the document fails.
const DRAFT_ATTEMPTS: u32 = 3;

impl FolderStore {
    pub(in crate::store) async fn read_document(
        &self,
        key: &DocumentKey,
    ) -> Result<Option<Versioned<Vec<u8>>>, StoreError> {
        let path = self.shared.layout.document(key);
        let read = move |shared: &Arc<Shared>| {
            let found = read(shared, &path).map_err(|error| io_error("read", &path, error))?;
            if let Some(found) = &found {
                check_length(found.value.len())?;
            }
            Ok(found)
        };
        self.shared.run(Work::Look, read).await
    }

    pub(in crate::store) async fn write_document(
        &self,
        key: &DocumentKey,
        content: Vec<u8>,
        expected: Expected,
    ) -> Result<Written, StoreError> {
        let key = key.clone();
        let write = move |shared: &Arc<Shared>| write(shared, &key, &content, &expected);
        self.shared.run(Work::Write, write).await
    }

    pub(in crate::store) async fn list_documents(
        &self,
        collection: Collection,
        after: Option<&DocumentName>,
        limit: usize,
    ) -> Result<Vec<DocumentName>, StoreError> {
        let folder = self.shared.layout.documents(collection);
        let after = after.cloned();
        let list = move |shared: &Arc<Shared>| {
            let names = shared.list_names(&folder)?;
            let mut names: Vec<_> = names.iter().filter_map(|name| parse(name)).collect();
            names.retain(|name| Some(name) > after.as_ref());
            names.sort();
            names.truncate(limit);
            Ok(names)
        };
        self.shared.run(Work::Look, list).await
    }

    pub(in crate::store) async fn delete_document(
        &self,
        key: &DocumentKey,
    ) -> Result<(), StoreError> {
        let key = key.clone();
        let delete = move |shared: &Arc<Shared>| delete(shared, &key);
        self.shared.run(Work::Write, delete).await
    }
}

/// At most one byte more than a document may have.
fn read(shared: &Shared, path: &Path) -> io::Result<Option<Versioned<Vec<u8>>>> {
    let mut value = Vec::new();
    let read = || {
        let mut file = File::open(path)?.take(MAX_DOCUMENT_BYTES as u64 + 1);
        file.read_to_end(&mut value)
    };
    match shared.faults.call("read", read) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let version = Version(UpdateVersion {
        e_tag: Some(hex::encode(Sha256::digest(&value))),
        version: None,
    });
    Ok(Some(Versioned { value, version }))
}

/// Documents are written beside a server that may be starting, and then takes away all drafts: so one may
/// have to be drafted again.
fn write(
    shared: &Arc<Shared>,
    key: &DocumentKey,
    content: &[u8],
    expected: &Expected,
) -> Result<Written, StoreError> {
    let folder = shared.layout.documents(key.collection);
    let path = shared.layout.document(key);
    if *expected == Expected::Absent {
        shared.make_folder(&folder)?;
    }
    let mut attempt = 1;
    let placed = loop {
        let mut draft = StageFile::create(shared, &shared.layout.drafts())?;
        draft.write(content)?;
        draft.sync()?;
        let placed = match expected {
            Expected::Absent => create(shared, draft.path(), &path),
            Expected::Version(version) => replace(shared, draft.path(), &path, version),
        };
        let is_lost = matches!(&placed, Err(error) if error.kind() == io::ErrorKind::NotFound)
            && !draft.path().exists();
        if !is_lost || attempt == DRAFT_ATTEMPTS {
            break placed;
        }
        attempt += 1;
    };
    let written = placed.map_err(|error| io_error("write", &path, error))?;
    if written == Written::Done
        && let Err(error) = shared.sync_folder(&folder)
    {
        if *expected == Expected::Absent {
            take_back(shared, key);
        }
        return Err(error);
    }
    Ok(written)
}

/// A link is made only where nothing is, so this needs no lock.
fn create(shared: &Shared, draft: &Path, path: &Path) -> io::Result<Written> {
    let link = || fs::hard_link(draft, path);
    match shared.faults.call("link", link) {
        Ok(()) => Ok(Written::Done),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Written::Conflict),
        Err(error) => Err(error),
    }
}

fn replace(shared: &Shared, draft: &Path, path: &Path, version: &Version) -> io::Result<Written> {
    let _lock = lock(shared)?;
    match read(shared, path)? {
        Some(found) if found.version == *version => {}
        Some(_) | None => return Ok(Written::Conflict),
    }
    let rename = || fs::rename(draft, path);
    shared.faults.call("rename", rename)?;
    Ok(Written::Done)
}

fn delete(shared: &Shared, key: &DocumentKey) -> Result<(), StoreError> {
    let path = shared.layout.document(key);
    let lock = lock(shared).map_err(|error| io_error("lock", &path, error))?;
    let removal = shared.remove_file(&path)?;
    drop(lock);
    match removal {
        Removal::Removed => shared.sync_folder(&shared.layout.documents(key.collection)),
        Removal::WasGone => Ok(()),
    }
}

/// Removes a document that was created and is not known to be durable: whoever asked for it learns that
/// there is none.
fn take_back(shared: &Shared, key: &DocumentKey) {
    if let Err(error) = delete(shared, key) {
        tracing::error!(
            error = chain(&error),
            "a document stays although its creation was refused"
        );
    }
}

/// The right to replace and delete documents, given back when dropped, or by the system when the process
/// ends.
fn lock(shared: &Shared) -> io::Result<File> {
    let mut options = private_file();
    options.create(true).truncate(false);
    let open = || options.open(shared.layout.documents_lock());
    let file = shared.faults.call("open", open)?;
    shared.faults.call("flock", || file.lock())?;
    Ok(file)
}

fn parse(file_name: &OsStr) -> Option<DocumentName> {
    DocumentName::parse(file_name.to_str()?)
}
