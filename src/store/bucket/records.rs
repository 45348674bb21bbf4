//! Small records as objects.

use futures_util::StreamExt;
use object_store::{ObjectStoreExt, PutMode, UpdateVersion};

use super::BucketStore;
use super::errors::{failed, is_unsupported};
use super::keys::Keys;
use super::shared::Overwrite;
use crate::store::{
    RecordCreation, RecordDeletion, RecordKind, RecordName, RecordReplacement, StoreError,
};

/// How often another may replace a record at the same time before replacing it fails.
const REPLACE_ATTEMPTS: u32 = 5;

impl BucketStore {
    pub(in crate::store) async fn create_record(
        &self,
        kind: RecordKind,
        name: &RecordName,
        content: Vec<u8>,
    ) -> Result<RecordCreation, StoreError> {
        let key = self.shared.keys.account_record(kind, name);
        let is_there = self.read_record(kind, name).await?.is_some();
        if is_there {
            return Ok(RecordCreation::Exists);
        }
        match self.shared.create(&key, content.clone().into()).await {
            Ok(()) => Ok(RecordCreation::Created),
            // It is this very one if the answer to a first request was lost.
            Err(object_store::Error::AlreadyExists { .. }) => {
                let found = self.read_record(kind, name).await?;
                if found == Some(content) {
                    Ok(RecordCreation::Created)
                } else {
                    Ok(RecordCreation::Exists)
                }
            }
            Err(error) => Err(failed("create a record")(error)),
        }
    }

    pub(in crate::store) async fn put_record(
        &self,
        kind: RecordKind,
        name: &RecordName,
        content: Vec<u8>,
    ) -> Result<(), StoreError> {
        let key = self.shared.keys.account_record(kind, name);
        let put = self.shared.objects().put(&key, content.into()).await;
        put.map(drop).map_err(failed("write a record"))
    }

    pub(in crate::store) async fn replace_record(
        &self,
        kind: RecordKind,
        name: &RecordName,
        content: Vec<u8>,
    ) -> Result<RecordReplacement, StoreError> {
        let key = self.shared.keys.account_record(kind, name);
        let objects = self.shared.objects();
        let mut attempt = 1;
        loop {
            let meta = match objects.head(&key).await {
                Ok(meta) => meta,
                Err(object_store::Error::NotFound { .. }) => return Ok(RecordReplacement::Missing),
                Err(error) => return Err(failed("look for a record")(error)),
            };
            let update = PutMode::Update(UpdateVersion {
                e_tag: meta.e_tag,
                version: meta.version,
            });
            let replaced = objects
                .put_opts(&key, content.clone().into(), update.into())
                .await;
            match replaced {
                Ok(_) => return Ok(RecordReplacement::Replaced),
                Err(
                    object_store::Error::Precondition { .. } | object_store::Error::NotFound { .. },
                ) if attempt < REPLACE_ATTEMPTS => {
                    attempt += 1;
                }
                Err(error)
                    if self.shared.overwrite == Overwrite::Allow && is_unsupported(&error) =>
                {
                    self.put_record(kind, name, content).await?;
                    return Ok(RecordReplacement::Replaced);
                }
                Err(error) => return Err(failed("replace a record")(error)),
            }
        }
    }

    pub(in crate::store) async fn read_record(
        &self,
        kind: RecordKind,
        name: &RecordName,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let key = self.shared.keys.account_record(kind, name);
        match self.shared.objects().get(&key).await {
            Ok(found) => {
                let content = found.bytes().await.map_err(failed("read a record"))?;
                Ok(Some(content.into()))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("read a record")(error)),
        }
    }

    pub(in crate::store) async fn list_records(
        &self,
        kind: RecordKind,
    ) -> Result<Vec<RecordName>, StoreError> {
        let folder = self.shared.keys.account_records(kind);
        let mut listed = self.shared.objects().list(Some(&folder));
        let mut names = Vec::new();
        while let Some(next) = listed.next().await {
            let meta = next.map_err(failed("list records"))?;
            names.extend(Keys::parse_account_record(&meta.location));
        }
        names.sort();
        Ok(names)
    }

    /// Object stores do not say whether there was something to delete, so it is asked for first.
    pub(in crate::store) async fn delete_record(
        &self,
        kind: RecordKind,
        name: &RecordName,
    ) -> Result<RecordDeletion, StoreError> {
        let key = self.shared.keys.account_record(kind, name);
        let objects = self.shared.objects();
        match objects.head(&key).await {
            Ok(_) => {}
            Err(object_store::Error::NotFound { .. }) => return Ok(RecordDeletion::Missing),
            Err(error) => return Err(failed("look for a record")(error)),
        }
        match objects.delete(&key).await {
            Ok(()) => Ok(RecordDeletion::Deleted),
            Err(object_store::Error::NotFound { .. }) => Ok(RecordDeletion::Missing),
            Err(error) => Err(failed("delete a record")(error)),
        }
    }
}
