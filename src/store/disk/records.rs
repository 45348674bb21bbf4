//! Small records as files: written aside, synced, and put in place whole.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::layout::parse_record;
use super::stage::StageFile;
use super::{DiskStore, Removal, Shared};
use crate::store::{RecordCreation, RecordDeletion, RecordKind, RecordName, StoreError};

/// No record is longer.
const MAX_RECORD_BYTES: u64 = 64 * 1024;

impl DiskStore {
    pub(in crate::store) async fn create_record(
        &self,
        kind: RecordKind,
        name: &RecordName,
        content: Vec<u8>,
    ) -> Result<RecordCreation, StoreError> {
        let name = name.clone();
        self.run(move |shared| {
            let mut stage = StageFile::create(shared)?;
            stage.write(&content)?;
            stage.sync()?;
            let target = shared.layout.record(kind, &name);
            match fs::hard_link(stage.path(), &target) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Ok(RecordCreation::Exists);
                }
                Err(error) => return Err(shared.error("create", &target, error)),
            }
            shared.sync_folder(&shared.layout.records(kind))?;
            Ok(RecordCreation::Created)
        })
        .await
    }

    pub(in crate::store) async fn replace_record(
        &self,
        kind: RecordKind,
        name: &RecordName,
        content: Vec<u8>,
    ) -> Result<(), StoreError> {
        let name = name.clone();
        self.run(move |shared| {
            let mut stage = StageFile::create(shared)?;
            stage.write(&content)?;
            stage.sync()?;
            let target = shared.layout.record(kind, &name);
            fs::rename(stage.path(), &target)
                .map_err(|error| shared.error("replace", &target, error))?;
            shared.sync_folder(&shared.layout.records(kind))
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
            match read(&path) {
                Ok(content) => Ok(Some(content)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(shared.error("read", &path, error)),
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
        self.run(
            move |shared| match shared.remove_file(&shared.layout.record(kind, &name))? {
                Removal::Removed => {
                    shared.sync_folder(&shared.layout.records(kind))?;
                    Ok(RecordDeletion::Deleted)
                }
                Removal::WasGone => Ok(RecordDeletion::Missing),
            },
        )
        .await
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?
        .take(MAX_RECORD_BYTES)
        .read_to_end(&mut content)?;
    Ok(content)
}

fn list(shared: &Shared, folder: &Path) -> Result<Vec<RecordName>, StoreError> {
    let list_error = |error| shared.error("list", folder, error);
    fs::read_dir(folder)
        .map_err(list_error)?
        .filter_map(|entry| {
            entry
                .map(|entry| parse_record(&entry.file_name()))
                .transpose()
        })
        .collect::<Result<_, _>>()
        .map_err(list_error)
}
