//! What is stored of an upload in parts besides its bytes: its beginning, and what stands at the end of its last part.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt as _, PutMode, UpdateVersion};
use serde::{Deserialize, Serialize};

use super::errors::failed;
use super::keys::{Attempt, Role};
use super::parts::Parts;
use super::record::corrupt;
use super::shared::BucketStore;
use crate::source::SourceId;
use crate::store::attempt::{Plan, Progress, SAVED_BYTES, Saved};
use crate::store::error::{Result, StoreError};

/// No plan is longer. What is was put there by somebody else, and is not read.
const MAX_PLAN_BYTES: u64 = 16 * 1024;

/// What is stored of an attempt when it begins.
#[derive(Debug, Serialize, Deserialize)]
struct Beginning {
    #[serde(with = "uuid::serde::simple")]
    attempt: Attempt,
    plan: Plan,
}

/// The same, as it was read.
pub(super) struct FoundBeginning {
    pub(super) attempt: Attempt,
    plan: Plan,
    version: UpdateVersion,
}

/// An attempt that was looked at.
pub(super) struct FoundAttempt {
    pub(super) progress: Progress,
    pub(super) parts: Parts,
    pub(super) version: UpdateVersion,
}

impl BucketStore {
    /// Notes how long all of it will be, unless it was replaced meanwhile.
    pub(super) async fn announce(
        &self,
        source: SourceId,
        attempt: Attempt,
        plan: &Plan,
        version: UpdateVersion,
    ) -> Result<()> {
        let key = self.keys.of(source, Role::Beginning);
        let content = beginning(attempt, plan).into();
        let put = self.put_if(PutMode::Update(version), &key, content);
        match put.await {
            Ok(()) => Ok(()),
            Err(
                Error::Precondition { .. } | Error::AlreadyExists { .. } | Error::NotFound { .. },
            ) => Err(StoreError::Superseded),
            Err(error) => Err(failed("note the length of an upload in parts")(error)),
        }
    }

    /// Which attempt of a source can go on, if it has not ended.
    pub(super) async fn read_beginning(&self, source: SourceId) -> Result<Option<FoundBeginning>> {
        let key = self.keys.of(source, Role::Beginning);
        let failed = failed("read an upload in parts");
        let found = match self.objects().get(&key).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let version = UpdateVersion {
            e_tag: found.meta.e_tag.clone(),
            version: found.meta.version.clone(),
        };
        if found.meta.size > MAX_PLAN_BYTES {
            return Err(corrupt(&key, "it is no beginning of an upload"));
        }
        let content = found.bytes().await.map_err(failed)?;
        let read: Beginning = serde_json::from_slice(&content)
            .map_err(|_| corrupt(&key, "it is no beginning of an upload"))?;
        Ok(Some(FoundBeginning {
            attempt: read.attempt,
            plan: read.plan,
            version,
        }))
    }

    /// What the last part says, and whether the source has its archive. What is no attempt, or not the newest one, or
    /// has lost a part, is none.
    pub(super) async fn look_at_attempt(
        self: &Arc<Self>,
        source: SourceId,
        attempt: Attempt,
    ) -> Result<Option<FoundAttempt>> {
        let Some(beginning) = self.read_beginning(source).await? else {
            return Ok(None);
        };
        if beginning.attempt != attempt {
            return Ok(None);
        }
        let (parts, first) =
            tokio::join!(self.list_parts(source, attempt), self.find_first(source));
        let (mut parts, first) = (parts?, first?);
        let saved = match parts.last_key() {
            None => Some(beginning.plan.start()),
            Some((key, length)) => self.read_saved(source, attempt, &key, length).await?,
        };
        let Some(mut saved) = saved.filter(|saved| saved.offset == parts.total_bytes()) else {
            let id = attempt.simple();
            tracing::error!(%source, attempt = %id, "an upload in parts is lost: what its last part says is wrong");
            return Ok(None);
        };
        saved.announced_bytes = saved.announced_bytes.or(beginning.plan.announced_bytes);
        parts.keep();
        Ok(Some(FoundAttempt {
            progress: Progress {
                plan: beginning.plan,
                saved,
                first,
            },
            parts,
            version: beginning.version,
        }))
    }

    /// Those that follow one another from the first.
    async fn list_parts(self: &Arc<Self>, source: SourceId, attempt: Attempt) -> Result<Parts> {
        let mut parts = Parts::of_attempt(Arc::clone(self), source, attempt);
        let mut listed = self
            .objects()
            .list(Some(&self.keys.attempt(source, attempt)));
        while let Some(meta) = listed.next().await {
            let meta = meta.map_err(failed("list the parts of an upload"))?;
            let length = meta.size.checked_sub(SAVED_BYTES as u64);
            match length {
                Some(length) if length > 0 && meta.location == parts.next_key() => {
                    parts.note(length);
                }
                _ => break,
            }
        }
        Ok(parts)
    }

    /// What is saved at the end of a part of so many bytes; `None` if that makes no sense.
    pub(super) async fn read_saved(
        &self,
        source: SourceId,
        attempt: Attempt,
        key: &Path,
        length: u64,
    ) -> Result<Option<Saved>> {
        let range = length..length + SAVED_BYTES as u64;
        let read = self.objects().get_range(key, range).await;
        let bytes = read.map_err(failed("read the end of a part"))?;
        Ok(Saved::decode(&context(source, attempt), &bytes))
    }
}

/// What is saved is of its attempt alone.
pub(super) fn context(source: SourceId, attempt: Attempt) -> Vec<u8> {
    [source.as_bytes().as_slice(), attempt.as_bytes()].concat()
}

pub(super) fn beginning(attempt: Attempt, plan: &Plan) -> Bytes {
    let plan = plan.clone();
    let text = serde_json::to_vec(&Beginning { attempt, plan });
    text.expect("a plain struct with text keys").into()
}
