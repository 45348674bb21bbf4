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
pub(super) struct StoredRecord {
    attempt: String,
    part_bytes: u64,
    size: u64,
    sha256: String,
    media_type: MediaType,
    uploaded_at: Timestamp,
}

impl StoredRecord {
    pub(super) fn new(attempt: Attempt, part_bytes: u64, facts: &Facts) -> Self {
        Self {
            attempt: attempt.to_string(),
            part_bytes,
            size: facts.size_bytes,
            sha256: facts.sha256.to_string(),
            media_type: facts.media_type,
            uploaded_at: facts.uploaded_at,
        }
    }
}

/// A record that was read and made sense.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) attempt: Attempt,
    pub(super) part_bytes: u64,
    facts: Facts,
}

impl Record {
    pub(super) const fn facts(&self) -> Facts {
        self.facts
    }

    /// How many parts it has.
    pub(super) const fn parts(&self) -> u64 {
        self.facts.size_bytes.div_ceil(self.part_bytes)
    }

    pub(super) fn decode(content: &[u8]) -> Option<Self> {
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
