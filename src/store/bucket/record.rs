//! The record of a source: which upload is its archive, and what is known of it.

use object_store::{Error, ObjectStoreExt};
use serde::{Deserialize, Serialize};

use super::errors::failed;
use super::keys::{Attempt, Role};
use super::shared::Shared;
use crate::clock::Timestamp;
use crate::digest::Sha256Digest;
use crate::media::MediaType;
use crate::source::{Facts, SourceId};
use crate::store::error::StoreError;

/// A record as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct StoredRecord {
    attempt: String,
    part_bytes: u64,
    size: u64,
    sha256: String,
    media_type: MediaType,
    uploaded_at: Timestamp,
}

/// What the record of a source says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The upload whose parts are the archive.
    pub attempt: Attempt,
    /// The length of each part but the last.
    pub part_bytes: u64,
    /// What is known of the archive.
    pub facts: Facts,
}

impl Record {
    /// How many parts it has.
    pub const fn parts(&self) -> u64 {
        self.facts.size_bytes.div_ceil(self.part_bytes)
    }

    /// The content of the stored object.
    pub fn encode(&self) -> Vec<u8> {
        let stored = StoredRecord {
            attempt: self.attempt.to_string(),
            part_bytes: self.part_bytes,
            size: self.facts.size_bytes,
            sha256: self.facts.sha256.to_string(),
            media_type: self.facts.media_type,
            uploaded_at: self.facts.uploaded_at,
        };
        serde_json::to_vec(&stored).expect("a plain struct with text keys")
    }

    /// Reads the content of a stored object; `None` if it makes no sense.
    pub fn decode(content: &[u8]) -> Option<Self> {
        let stored: StoredRecord = serde_json::from_slice(content).ok()?;
        let sha256 = hex::decode(&stored.sha256).ok()?.try_into().ok()?;
        // Where the last part would end: offsets are computed up to there.
        let parts = stored.size.checked_div(stored.part_bytes)?.checked_add(1)?;
        parts.checked_mul(stored.part_bytes)?;
        Some(Self {
            attempt: Attempt::parse(&stored.attempt)?,
            part_bytes: stored.part_bytes,
            facts: Facts {
                size_bytes: stored.size,
                sha256: Sha256Digest(sha256),
                media_type: stored.media_type,
                uploaded_at: stored.uploaded_at,
            },
        })
    }

    /// The record of `source`; `None` if there is none.
    pub(super) async fn read(
        shared: &Shared,
        source: SourceId,
    ) -> Result<Option<Self>, StoreError> {
        let key = shared.keys.of(source, Role::Record);
        let content = match shared.objects().get(&key).await {
            Ok(found) => found.bytes().await.map_err(failed("read a record"))?,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed("read a record")(error)),
        };
        match Self::decode(&content) {
            Some(record) => Ok(Some(record)),
            None => Err(StoreError::Corrupt {
                path: key.as_ref().into(),
                problem: "it is no record",
            }),
        }
    }
}
