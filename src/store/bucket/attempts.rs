//! Uploads in parts on a bucket: each part is an object that is created where none is, and ends with what is saved of the
//! bytes so far. So the last part says how far an attempt is, to any server, and of two that go on with it at once one
//! finds its first part there.
//!
//! ```text
//! <source>/attempt                  which attempt it is, what its client said at the beginning, and whether it ends
//! <source>/<attempt>/00000000       bytes, then what is saved of them: offset, state of the digest
//! <source>/<attempt>/00000001       …
//! <source>/record                   the end: it names the attempt, as that of any upload
//! ```
//!
//! Who is about to create the record notes that at the beginning first, and who replaces the beginning does so by its
//! version: so either the record is not created, or its parts are left alone.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use object_store::path::Path;

use super::attempt_upload::BucketAttempt;
use super::beginning::{Beginning, Finish, FoundBeginning};
use super::keys::Attempt;
use super::shared::BucketStore;
use crate::error_chain::chain;
use crate::source::SourceId;
use crate::store::archive::UploadStart;
use crate::store::attempt::{AttemptStart, Plan, Progress};
use crate::store::error::{Result, StoreError};

/// How often a beginning is tried to be replaced while others do so.
const REPLACE_ATTEMPTS: u32 = 5;

impl BucketStore {
    pub(crate) async fn begin_attempt(
        self: &Arc<Self>,
        source: SourceId,
        plan: &Plan,
    ) -> Result<UploadStart<Attempt>> {
        if let Some(first) = self.find_first(source).await? {
            return Ok(UploadStart::AlreadyUploaded(first));
        }
        let beginning = Beginning::of(plan);
        self.replace_beginning(source, &beginning, None, |_| true)
            .await?;
        Ok(UploadStart::Accepted(beginning.attempt))
    }

    pub(crate) async fn find_attempt(
        self: &Arc<Self>,
        source: SourceId,
        attempt: Attempt,
    ) -> Result<Option<Progress>> {
        let found = self.look_at_attempt(source, attempt).await?;
        Ok(found.map(|found| found.progress))
    }

    /// Is it begun, neither given up nor replaced, and its source without an archive? Where this is asked, it is of all that
    /// are open: so parts are not looked at.
    pub(crate) async fn can_go_on(&self, source: SourceId, attempt: Attempt) -> Result<bool> {
        let beginning = self.read_beginning(source).await?;
        let is_begun = beginning.is_some_and(|beginning| beginning.content.is_of(attempt));
        Ok(is_begun && self.find_first(source).await?.is_none())
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
            self.forget_attempt(source, attempt, None).await?;
        }
        Ok(Some(found.progress))
    }

    /// Gives an attempt up, unless another was begun in its place, and deletes its parts. `ours` is the try to finish it
    /// that is given up, if nobody else has ever tried.
    pub(super) async fn forget_attempt(
        &self,
        source: SourceId,
        attempt: Attempt,
        ours: Option<Finish>,
    ) -> Result<()> {
        let given_up = Beginning::given_up(attempt);
        let is_there = |older: Option<&Beginning>| {
            older.is_some_and(|older| older.attempt == attempt && *older != given_up)
        };
        self.replace_beginning(source, &given_up, ours, is_there)
            .await
    }

    /// Puts a beginning in place of what is there, if that is as wanted, and deletes the parts of that. What cannot be
    /// deleted, or may become an archive yet, goes when the source expires.
    async fn replace_beginning(
        &self,
        source: SourceId,
        newer: &Beginning,
        ours: Option<Finish>,
        is_wanted: impl Fn(Option<&Beginning>) -> bool,
    ) -> Result<()> {
        for _ in 0..REPLACE_ATTEMPTS {
            let older = self.read_beginning(source).await?;
            if !is_wanted(older.as_ref().map(|older| &older.content)) {
                return Ok(());
            }
            let version = older.as_ref().map(|older| older.version.clone());
            let written = self.write_beginning(source, newer, version).await?;
            if written.is_none() {
                continue;
            }
            if let Some(FoundBeginning { content, .. }) = older
                && content.leaves_spare_parts(ours)
            {
                self.delete_parts(source, content.attempt).await;
            }
            return Ok(());
        }
        Err(StoreError::Contended)
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
