//! Where an upload becomes visible: when its record is created where none was.
//!
//! ```text
//! parts, all durable ──> create record, if there is none ──> visible
//!                              │ there is one: the first upload stays, these parts go
//! ```

use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutPayload};
use serde::{Deserialize, Serialize};

use super::engine::failed;
use super::keys::Attempt;
use super::probe::is_unsupported;
use super::upload::PutParts;
use super::{Overwrite, PART_BYTES, Shared};
use crate::clock::Timestamp;
use crate::digest::Sha256Digest;
use crate::media::MediaType;
use crate::source::{Facts, SourceId};
use crate::store::{Published, StoreError};

/// How often the record is tried to be created while the engine says that others do.
const CREATE_ATTEMPTS: u32 = 3;

/// A complete upload that has no record yet.
#[derive(Debug)]
pub struct StagedParts {
    parts: PutParts,
}

/// The record of a source: which upload is its archive, and what is known of it.
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
    pub(super) fn new(attempt: &Attempt, part_bytes: u64, facts: &Facts) -> Self {
        Self {
            attempt: attempt.as_str().to_owned(),
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
}

/// The record of `source`; `None` if there is none.
pub(super) async fn read_record(
    shared: &Shared,
    source: SourceId,
) -> Result<Option<Record>, StoreError> {
    let key = shared.keys.record(source);
    let content = match shared.objects().get(&key).await {
        Ok(found) => found.bytes().await.map_err(failed("read a record"))?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(failed("read a record")(error)),
    };
    match Record::decode(&content) {
        Some(record) => Ok(Some(record)),
        None => Err(StoreError::Corrupt {
            path: key.as_ref().into(),
            problem: "it is no record",
        }),
    }
}

impl StagedParts {
    pub(super) const fn new(parts: PutParts) -> Self {
        Self { parts }
    }

    pub(in crate::store) async fn abandon(self) {
        self.parts.take_back().await;
    }

    pub(in crate::store) async fn publish(mut self, facts: Facts) -> Result<Published, StoreError> {
        let shared = Arc::clone(&self.parts.shared);
        if shared.overwrite == Overwrite::Allow
            && let Some(first) = read_record(&shared, self.parts.source).await?
        {
            self.parts.take_back().await;
            return Ok(Published::AlreadyUploaded(first.facts()));
        }
        // From here on the record may exist, whatever the answer says or whether one comes.
        self.parts.keep();
        for _ in 0..CREATE_ATTEMPTS {
            match self.create_record(&facts).await {
                Ok(()) => return Ok(Published::New(facts)),
                Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(failed("create a record")(error)),
            }
            match read_record(&shared, self.parts.source).await? {
                // A request was sent twice because the answer to the first was lost.
                Some(first) if first.attempt == self.parts.attempt => {
                    return Ok(Published::New(facts));
                }
                Some(first) => {
                    self.parts.take_back().await;
                    return Ok(Published::AlreadyUploaded(first.facts()));
                }
                // Engines also say so when two create at once, and neither has yet.
                None => {}
            }
        }
        Err(StoreError::Contended)
    }

    async fn create_record(&self, facts: &Facts) -> object_store::Result<()> {
        let PutParts {
            shared,
            source,
            attempt,
            ..
        } = &self.parts;
        let record = StoredRecord::new(attempt, PART_BYTES as u64, facts);
        let content = serde_json::to_vec(&record).expect("a plain struct with text keys");
        put_new(shared, &shared.keys.record(*source), content.into()).await
    }
}

/// Puts an object where none is, as far as the engine can tell. One that cannot, and says so, is used
/// only where that is allowed.
pub(super) async fn put_new(
    shared: &Shared,
    key: &Path,
    content: PutPayload,
) -> object_store::Result<()> {
    let created = shared
        .objects()
        .put_opts(key, content.clone(), PutMode::Create.into())
        .await;
    match created {
        Err(error) if shared.overwrite == Overwrite::Allow && is_unsupported(&error) => {
            shared.objects().put(key, content).await.map(drop)
        }
        created => created.map(drop),
    }
}
