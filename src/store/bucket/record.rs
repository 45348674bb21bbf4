//! The record of a source: which upload is its archive, and what is known of it.

use bytes::Bytes;
use object_store::{Error, ObjectStoreExt};
use serde::{Deserialize, Serialize};

use super::errors::failed;
use super::keys::{Attempt, Role};
use super::shared::BucketStore;
use crate::source::{Facts, SourceId};
use crate::store::error::{Result, StoreError};

/// No record is longer. What is was put there by somebody else, and is not read.
const MAX_RECORD_BYTES: u64 = 4096;

/// What the record of a source says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The upload whose parts are the archive.
    #[serde(with = "uuid::serde::simple")]
    pub attempt: Attempt,
    /// The length of each part but the last.
    pub part_bytes: u64,
    #[serde(flatten)]
    pub facts: Facts,
}

impl Record {
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a plain struct with text keys")
    }

    /// Reads the content of a stored object; `None` if it makes no sense.
    pub fn decode(content: &[u8]) -> Option<Self> {
        let record: Self = serde_json::from_slice(content).ok()?;
        let (size_bytes, part_bytes) = (record.facts.size_bytes, record.part_bytes);
        // Where the last part would end: offsets are computed up to there.
        let parts = size_bytes.checked_div(part_bytes)?.checked_add(1)?;
        parts.checked_mul(part_bytes)?;
        Some(record)
    }
}

impl BucketStore {
    /// The record of `source`; `None` if there is none.
    pub(super) async fn read_record(&self, source: SourceId) -> Result<Option<Record>> {
        let key = self.keys.of(source, Role::Record);
        let content = match self.objects().get(&key).await {
            Ok(found) if found.meta.size > MAX_RECORD_BYTES => Bytes::new(),
            Ok(found) => found.bytes().await.map_err(failed("read a record"))?,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed("read a record")(error)),
        };
        let record = Record::decode(&content).ok_or_else(|| StoreError::Corrupt {
            path: key.as_ref().into(),
            problem: "it is no record",
        });
        record.map(Some)
    }
}
