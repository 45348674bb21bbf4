//! Uploads in parts on a bucket: each part is an object that is created where none is, and ends with what is saved of the
//! bytes so far. So the last part says how far an attempt is, to any server, and of two that go on with it at once one
//! finds its first part there.
//!
//! ```text
//! <source>/attempt                  which attempt it is, and what its client said at the beginning
//! <source>/<attempt>/00000000       bytes, then what is saved of them: offset, state of the digest
//! <source>/<attempt>/00000001       …
//! <source>/record                   the end: it names the attempt, as that of any upload
//! ```

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::attempt_state::beginning;
use super::attempt_upload::BucketAttempt;
use super::errors::failed;
use super::keys::{Attempt, Role};
use super::shared::BucketStore;
use crate::error_chain::chain;
use crate::source::SourceId;
use crate::store::archive::UploadStart;
use crate::store::attempt::{AttemptStart, Plan, Progress};
use crate::store::error::Result;

impl BucketStore {
    pub(crate) async fn begin_attempt(
        self: &Arc<Self>,
        source: SourceId,
        plan: &Plan,
    ) -> Result<UploadStart<Attempt>> {
        if let Some(first) = self.find_first(source).await? {
            return Ok(UploadStart::AlreadyUploaded(first));
        }
        let older = self.read_beginning(source).await?;
        let attempt = Attempt::from_bytes(rand::random());
        let key = self.keys.of(source, Role::Beginning);
        let content = beginning(attempt, plan);
        let put = self.objects().put(&key, content.into()).await;
        put.map_err(failed("begin an upload in parts"))?;
        if let Some(older) = older {
            self.delete_parts(source, older.attempt).await;
        }
        Ok(UploadStart::Accepted(attempt))
    }

    pub(crate) async fn find_attempt(
        self: &Arc<Self>,
        source: SourceId,
        attempt: Attempt,
    ) -> Result<Option<Progress>> {
        let found = self.look_at_attempt(source, attempt).await?;
        Ok(found.map(|found| found.progress))
    }

    pub(crate) async fn open_attempt(
        self: &Arc<Self>,
        source: SourceId,
        attempt: Attempt,
    ) -> Result<AttemptStart<BucketAttempt>> {
        let Some(found) = self.look_at_attempt(source, attempt).await? else {
            return Ok(AttemptStart::Unknown);
        };
        if found.progress.first.is_some() {
            return Ok(AttemptStart::Ended(Box::new(found.progress)));
        }
        let open = BucketAttempt::going_on(found);
        Ok(open.map_or(AttemptStart::Unknown, AttemptStart::GoesOn))
    }

    pub(crate) async fn cancel_attempt(
        self: &Arc<Self>,
        source: SourceId,
        attempt: Attempt,
    ) -> Result<Option<Progress>> {
        let Some(found) = self.look_at_attempt(source, attempt).await? else {
            return Ok(None);
        };
        if found.progress.first.is_none() {
            self.forget_attempt(source, attempt).await?;
        }
        Ok(Some(found.progress))
    }

    /// Deletes all of an attempt; what cannot be deleted of its parts goes when the source expires.
    pub(super) async fn forget_attempt(&self, source: SourceId, attempt: Attempt) -> Result<()> {
        let key = self.keys.of(source, Role::Beginning);
        let deleted = self.delete_one(key).await;
        deleted.map_err(failed("cancel an upload in parts"))?;
        self.delete_parts(source, attempt).await;
        Ok(())
    }

    async fn delete_parts(&self, source: SourceId, attempt: Attempt) {
        let listed = self
            .objects()
            .list(Some(&self.keys.attempt(source, attempt)));
        let keys: object_store::Result<Vec<Path>> =
            listed.map_ok(|meta| meta.location).try_collect().await;
        let errors = match keys {
            Ok(keys) => self.delete(keys).await.1,
            Err(error) => vec![error],
        };
        for error in errors {
            tracing::warn!(
                error = chain(&error),
                "a part of an upload that was given up stays until its source expires"
            );
        }
    }
}
