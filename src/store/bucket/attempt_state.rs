//! What is stored of an upload in parts besides its bytes: its beginning, and what stands at the end of its last part.

use std::sync::Arc;

use futures_util::StreamExt as _;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt as _, PutMode, UpdateVersion};

use super::beginning::{Beginning, FoundBeginning};
use super::errors::failed;
use super::keys::{Attempt, Role};
use super::parts::Parts;
use super::record::corrupt;
use super::shared::{BucketStore, version_of};
use crate::source::SourceId;
use crate::store::attempt::{MAX_PLAN_BYTES, Progress, SAVED_BYTES, Saved, context};
use crate::store::error::Result;

/// An attempt that was looked at.
pub(super) struct FoundAttempt {
    pub(super) progress: Progress,
    pub(super) parts: Parts,
    pub(super) beginning: FoundBeginning,
}

impl BucketStore {
    /// Writes a beginning where that version is, or none. Returns its own version; `None` if there is something else.
    pub(super) async fn write_beginning(
        &self,
        source: SourceId,
        content: &Beginning,
        over: Option<UpdateVersion>,
    ) -> Result<Option<UpdateVersion>> {
        let key = self.keys.of(source, Role::Beginning);
        let mode = over.map_or(PutMode::Create, PutMode::Update);
        let put = self.put_if(mode, &key, content.encode().into());
        match put.await {
            Ok(put) => return Ok(Some(put.into())),
            Err(
                Error::Precondition { .. } | Error::AlreadyExists { .. } | Error::NotFound { .. },
            ) => {}
            Err(error) => return Err(failed("note how an upload in parts is")(error)),
        }
        // It is this very one if the answer to a first request was lost.
        let found = self.read_beginning(source).await?;
        let found = found.filter(|found| found.content == *content);
        Ok(found.map(|found| found.version))
    }

    /// What was begun last for a source.
    pub(super) async fn read_beginning(&self, source: SourceId) -> Result<Option<FoundBeginning>> {
        let key = self.keys.of(source, Role::Beginning);
        let doing = "read an upload in parts";
        let Some(found) = self.get(&key, doing).await? else {
            return Ok(None);
        };
        let version = version_of(&found);
        if found.meta.size > MAX_PLAN_BYTES as u64 {
            return Err(corrupt(&key, "it is no beginning of an upload"));
        }
        let content = found.bytes().await.map_err(failed(doing))?;
        let content = serde_json::from_slice(&content)
            .map_err(|_| corrupt(&key, "it is no beginning of an upload"))?;
        Ok(Some(FoundBeginning { content, version }))
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
        if !beginning.content.is_of(attempt) {
            return Ok(None);
        }
        let plan = &beginning.content.plan;
        let (parts, first) =
            tokio::join!(self.list_parts(source, attempt), self.find_first(source));
        let (mut parts, first) = (parts?, first?);
        let saved = match parts.last_key() {
            None => Some(plan.start()),
            Some((key, length)) => self.read_saved(source, attempt, &key, length).await?,
        };
        let Some(mut saved) = saved.filter(|saved| saved.offset == parts.total_bytes()) else {
            let id = attempt.simple();
            tracing::error!(%source, attempt = %id, "an upload in parts is lost: what its last part says is wrong");
            return Ok(None);
        };
        saved.announced_bytes = saved.announced_bytes.or(plan.announced_bytes);
        parts.keep();
        Ok(Some(FoundAttempt {
            progress: Progress {
                plan: plan.clone(),
                saved,
                first,
            },
            parts,
            beginning,
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
