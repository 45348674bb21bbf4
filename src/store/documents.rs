//! Reading, writing and listing documents: small JSON values, such as users and API tokens.
//!
//! * **What was read is what is replaced.** A document is created only where none is, and replaced only
//!   by naming the version that was read: of two who do so at once, exactly one does.
//! * **Deleted stays deleted.** Nothing but [`Expected::Absent`] makes a document.
//! * **Whole and durable.** A reader sees the old or the new content, and what was written stays.
//! * **A list reads nothing of another collection**, however much is stored there.

use std::io::ErrorKind;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::document::{
    Collection, DocumentKey, DocumentName, Expected, Updated, Versioned, Written, check_length,
};
use super::error::Result;
use super::{Store, StoreError};
use crate::error_chain::chain;

/// How often others may change a document at the same time before changing it fails.
const UPDATE_ATTEMPTS: u32 = 5;
/// How many documents are read at once, where all are wanted.
const READ_AT_ONCE: usize = 16;

/// A document as it is stored. No two that are written are the same: if the answer of an object store is
/// lost, what is there shows who wrote it.
#[derive(Serialize)]
struct Stored<'a, T> {
    #[serde(flatten)]
    value: &'a T,
    nonce: String,
}

impl Store {
    /// Reads a document; `None` if there is none.
    pub async fn read_document<T: DeserializeOwned>(
        &self,
        key: &DocumentKey,
    ) -> Result<Option<Versioned<T>>> {
        let found = ask!(self, store => store.read_document(key).await?);
        let Some(Versioned { value, version }) = found else {
            return Ok(None);
        };
        check_length(value.len())?;
        match serde_json::from_slice(&value) {
            Ok(value) => Ok(Some(Versioned { value, version })),
            Err(source) => Err(StoreError::CorruptDocument {
                key: key.to_string(),
                source,
            }),
        }
    }

    /// Creates or replaces a document, if what is there is what is expected.
    pub async fn write_document<T: Serialize>(
        &self,
        key: &DocumentKey,
        value: &T,
        expected: Expected,
    ) -> Result<Written> {
        let nonce = hex::encode(rand::random::<[u8; 16]>());
        let content = serde_json::to_vec_pretty(&Stored { value, nonce })
            .expect("documents are plain structs with text keys");
        check_length(content.len())?;
        ask!(self, store => store.write_document(key, content, expected).await)
    }

    /// Changes a document to what `change` makes of it, and asks again if another changed it meanwhile.
    /// `None` leaves it as it is.
    pub async fn update_document<T: Serialize + DeserializeOwned>(
        &self,
        key: &DocumentKey,
        mut change: impl FnMut(T) -> Option<T>,
    ) -> Result<Updated<T>> {
        for _ in 0..UPDATE_ATTEMPTS {
            let Some(Versioned { value, version }) = self.read_document(key).await? else {
                return Ok(Updated::Missing);
            };
            let Some(new) = change(value) else {
                return Ok(Updated::Declined);
            };
            let expected = Expected::Version(version);
            if self.write_document(key, &new, expected).await? == Written::Done {
                return Ok(Updated::Done(new));
            }
        }
        Err(StoreError::Contended)
    }

    /// The first `limit` names in `collection` that sort behind `after`.
    pub async fn list_documents(
        &self,
        collection: Collection,
        after: Option<&DocumentName>,
        limit: usize,
    ) -> Result<Vec<DocumentName>> {
        ask!(self, store => store.list_documents(collection, after, limit).await)
    }

    /// All names in `collection`.
    pub async fn list_all_documents(&self, collection: Collection) -> Result<Vec<DocumentName>> {
        self.list_documents(collection, None, usize::MAX).await
    }

    /// All documents in `collection`, in the order of their names. Those that cannot be read are passed
    /// over: they must not hide the others.
    pub async fn read_documents<T: DeserializeOwned>(
        &self,
        collection: Collection,
    ) -> Result<Vec<T>> {
        let names = self.list_all_documents(collection).await?;
        self.read_named(collection, names).await
    }

    /// The documents of these names that are there, in this order. Those that cannot be read are passed over.
    pub async fn read_named<T: DeserializeOwned>(
        &self,
        collection: Collection,
        names: Vec<DocumentName>,
    ) -> Result<Vec<T>> {
        let mut values = Vec::new();
        let mut unread = Vec::new();
        let keys = names
            .into_iter()
            .map(|name| DocumentKey { collection, name });
        let reads = keys.map(|key| async move { self.read_document(&key).await });
        let mut reads = stream::iter(reads).buffered(READ_AT_ONCE);
        while let Some(read) = reads.next().await {
            match read {
                Ok(found) => values.extend(found.map(|found: Versioned<T>| found.value)),
                Err(error) if is_of_one_document(&error) => unread.push(error),
                Err(error) => return Err(error),
            }
        }
        if let [first, ..] = unread.as_slice() {
            let (error, documents) = (chain(first), unread.len());
            tracing::error!(
                documents,
                error,
                "passed over documents that cannot be read"
            );
        }
        Ok(values)
    }

    /// Deletes a document, if there is one. A change of it that is under way does not bring it back.
    pub async fn delete_document(&self, key: &DocumentKey) -> Result<()> {
        ask!(self, store => store.delete_document(key).await)
    }
}

/// Does it say something of one document, and nothing of the others? Another user may have put it there.
fn is_of_one_document(error: &StoreError) -> bool {
    let is_denied = error.io_kind() == Some(ErrorKind::PermissionDenied);
    let is_unreadable = matches!(
        error,
        StoreError::CorruptDocument { .. } | StoreError::DocumentTooLong { .. }
    );
    is_denied || is_unreadable
}
