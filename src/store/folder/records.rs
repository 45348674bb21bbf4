//! Small records as files: written aside, synced, and put in place whole.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::FolderStore;
use super::layout::parse_record;
use super::shared::{Removal, Shared, io_error};
use super::stage::StageFile;
use super::threads::Work;
use crate::store::{
    MAX_RECORD_BYTES, RecordCreation, RecordDeletion, RecordKind, RecordName, RecordReplacement,
    StoreError,
};

/// How often a server that starts may take a staged record away before writing it fails.
const PLACE_ATTEMPTS: u32 = 3;

impl FolderStore {
    pub(in crate::store) async fn create_record(
        &self,
        kind: RecordKind,
        name: &RecordName,
        content: Vec<u8>,
    ) -> Result<RecordCreation, StoreError> {
        let name = name.clone();
        self.shared
            .run(Work::Write, move |shared| {
                let target = shared.layout.record(kind, &name);
                match place(shared, &content, "link", |staged| {
                    fs::hard_link(staged, &target)
                })? {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        return Ok(RecordCreation::Exists);
                    }
                    Err(error) => return Err(io_error("create", &target, error)),
                }
                // Who asked is told that there is none, and shall find none.
                shared
                    .sync_folder(&shared.layout.records(kind))
                    .inspect_err(|_| take_back(shared, &target))?;
                Ok(RecordCreation::Created)
            })
            .await
    }

    pub(in crate::store) async fn put_record(
        &self,
        kind: RecordKind,
        name: &RecordName,
        content: Vec<u8>,
    ) -> Result<(), StoreError> {
        let name = name.clone();
        self.shared
            .run(Work::Write, move |shared| {
                let target = shared.layout.record(kind, &name);
                place(shared, &content, "rename", |staged| {
                    fs::rename(staged, &target)
                })?
                .map_err(|error| io_error("write", &target, error))?;
                shared.sync_folder(&shared.layout.records(kind))
            })
            .await
    }

    /// Exchanges the two names in one step, which fails where there is nothing to exchange with. The
    /// old content then goes with its stage name.
    pub(in crate::store) async fn replace_record(
        &self,
        kind: RecordKind,
        name: &RecordName,
        content: Vec<u8>,
    ) -> Result<RecordReplacement, StoreError> {
        let name = name.clone();
        self.shared
            .run(Work::Write, move |shared| {
                let target = shared.layout.record(kind, &name);
                let exchanged = place(shared, &content, "rename", |staged| {
                    let exchanged = renameat_with(CWD, staged, CWD, &target, RenameFlags::EXCHANGE);
                    exchanged.map_err(io::Error::from)
                })?;
                match exchanged {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Ok(RecordReplacement::Missing);
                    }
                    Err(error) => return Err(io_error("replace", &target, error)),
                }
                shared.sync_folder(&shared.layout.records(kind))?;
                Ok(RecordReplacement::Replaced)
            })
            .await
    }

    pub(in crate::store) async fn read_record(
        &self,
        kind: RecordKind,
        name: &RecordName,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let name = name.clone();
        self.run(move |shared| {
            let path = shared.layout.record(kind, &name);
            match shared.faults.call("read", || read(&path)) {
                Ok(content) => Ok(Some(content)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(io_error("read", &path, error)),
            }
        })
        .await
    }

    pub(in crate::store) async fn list_records(
        &self,
        kind: RecordKind,
    ) -> Result<Vec<RecordName>, StoreError> {
        self.run(move |shared| {
            let mut names = list(shared, &shared.layout.records(kind))?;
            names.sort();
            Ok(names)
        })
        .await
    }

    pub(in crate::store) async fn delete_record(
        &self,
        kind: RecordKind,
        name: &RecordName,
    ) -> Result<RecordDeletion, StoreError> {
        let name = name.clone();
        self.shared
            .run(Work::Write, move |shared| {
                match shared.remove_file(&shared.layout.record(kind, &name))? {
                    Removal::Removed => {
                        shared.sync_folder(&shared.layout.records(kind))?;
                        Ok(RecordDeletion::Deleted)
                    }
                    Removal::WasGone => Ok(RecordDeletion::Missing),
                }
            })
            .await
    }
}

/// Stages a record and puts it in place. Records are written beside a server that may be starting,
/// and then takes away whatever it finds in the stage: so it may have to be staged again.
fn place<T>(
    shared: &Arc<Shared>,
    content: &[u8],
    name: &'static str,
    put: impl Fn(&Path) -> io::Result<T>,
) -> Result<io::Result<T>, StoreError> {
    let mut attempt = 1;
    loop {
        let mut stage = StageFile::create(shared)?;
        stage.write(content)?;
        stage.sync()?;
        let done = shared.faults.call(name, || put(stage.path()));
        let is_lost = done
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            && !stage.path().exists();
        if !is_lost || attempt == PLACE_ATTEMPTS {
            return Ok(done);
        }
        attempt += 1;
    }
}

/// Removes a record whose durability is unknown.
fn take_back(shared: &Shared, target: &Path) {
    if let Err(error) = shared.remove_file(target) {
        tracing::error!(
            error = crate::error_chain::chain(&error),
            "a record stays although its creation was refused"
        );
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?
        .take(MAX_RECORD_BYTES as u64)
        .read_to_end(&mut content)?;
    Ok(content)
}

fn list(shared: &Shared, folder: &Path) -> Result<Vec<RecordName>, StoreError> {
    let list_error = |error| io_error("list", folder, error);
    let list = || {
        fs::read_dir(folder)?
            .filter_map(|entry| {
                entry
                    .map(|entry| parse_record(&entry.file_name()))
                    .transpose()
            })
            .collect()
    };
    shared.faults.call("getdents", list).map_err(list_error)
}
