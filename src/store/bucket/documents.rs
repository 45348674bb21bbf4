//! Documents as objects: conditions on their `ETag` keep those apart who write at once.

use futures_util::StreamExt;
use object_store::{Error, PutMode};

use super::errors::failed;
use super::shared::{BucketStore, Overwrite, version_of};
use crate::store::document::{
    Collection, DocumentKey, DocumentName, Expected, Version, Versioned, Written, check_length,
};
use crate::store::error::{Result, StoreError};

/// How often a document is tried to be written while the object store says that others do.
const WRITE_ATTEMPTS: u32 = 3;

impl BucketStore {
    pub(crate) async fn read_document(
        &self,
        key: &DocumentKey,
    ) -> Result<Option<Versioned<Vec<u8>>>> {
        let path = self.keys.document(key);
        let doing = "read a document";
        let Some(found) = self.get(&path, doing).await? else {
            return Ok(None);
        };
        check_length(usize::try_from(found.meta.size).unwrap_or(usize::MAX))?;
        let version = Version(version_of(&found));
        let value = found.bytes().await.map_err(failed(doing))?.into();
        Ok(Some(Versioned { value, version }))
    }

    pub(crate) async fn write_document(
        &self,
        key: &DocumentKey,
        content: Vec<u8>,
        expected: Expected,
    ) -> Result<Written> {
        let path = self.keys.document(key);
        // Where conditions may mean nothing, those who write one after the other are kept apart.
        if self.overwrite == Overwrite::Allow
            && !is_as_expected(self.read_document(key).await?, &expected)
        {
            return Ok(Written::Conflict);
        }
        let mode = match &expected {
            Expected::Absent => PutMode::Create,
            Expected::Version(Version(version)) => PutMode::Update(version.clone()),
        };
        for _ in 0..WRITE_ATTEMPTS {
            let put = self.put_if(mode.clone(), &path, content.clone().into());
            match put.await {
                Ok(_) => return Ok(Written::Done),
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
                Err(error) => return Err(failed("write a document")(error)),
            }
            let found = self.read_document(key).await?;
            // It is this very content if the answer to a first request was lost.
            if found.as_ref().is_some_and(|found| found.value == content) {
                return Ok(Written::Done);
            }
            // Object stores also refuse when two write at once, and neither has yet.
            if !is_as_expected(found, &expected) {
                return Ok(Written::Conflict);
            }
        }
        Err(StoreError::Contended)
    }

    pub(crate) async fn list_documents(
        &self,
        collection: Collection,
        after: Option<&DocumentName>,
        limit: usize,
    ) -> Result<Vec<DocumentName>> {
        let keys = &self.keys;
        let folder = keys.documents(collection);
        let objects = self.objects();
        let mut listed = match after {
            Some(after) => {
                let name = after.clone();
                let after = keys.document(&DocumentKey { collection, name });
                objects.list_with_offset(Some(&folder), &after)
            }
            None => objects.list(Some(&folder)),
        };
        let mut names = Vec::new();
        while names.len() < limit
            && let Some(meta) = listed.next().await
        {
            let key = meta.map_err(failed("list documents"))?.location;
            names.extend(keys.parse_document(collection, &key));
        }
        Ok(names)
    }

    pub(crate) async fn delete_document(&self, key: &DocumentKey) -> Result<()> {
        let path = self.keys.document(key);
        let deleted = self.delete_one(path).await;
        deleted.map_err(failed("delete a document"))
    }
}

fn is_as_expected(found: Option<Versioned<Vec<u8>>>, expected: &Expected) -> bool {
    match (found, expected) {
        (None, Expected::Absent) => true,
        (Some(found), Expected::Version(version)) => found.version == *version,
        (Some(_), Expected::Absent) | (None, Expected::Version(_)) => false,
    }
}
