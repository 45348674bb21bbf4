//! The parts of an upload: put a few at once, and taken back if it is given up.

use std::mem;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::beginning::Finish;
use super::errors::failed;
use super::keys::{Attempt, Role};
use super::record::Run;
use super::shared::BucketStore;
use crate::error_chain::chain;
use crate::source::SourceId;
use crate::store::attempt::SAVED_BYTES;
use crate::store::error::{Result, settle};

/// The parts that have been put or are being put; dropping them takes them back.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) store: Arc<BucketStore>,
    pub(super) source: SourceId,
    pub(super) attempt: Attempt,
    /// How long they are.
    pub(super) lengths: Vec<Run>,
    count: u64,
    running: JoinSet<Result<()>>,
    /// Set when they belong to a record, or may: then they must stay.
    is_kept: bool,
    /// How many bytes behind those of the archive each has.
    pub(super) tail_bytes: u64,
    /// Of an attempt that only this one has ever tried to finish: that try.
    pub(super) finish: Option<Finish>,
}

impl Parts {
    pub(super) fn new(store: Arc<BucketStore>, source: SourceId) -> Self {
        Self {
            store,
            source,
            attempt: Attempt::from_bytes(rand::random()),
            lengths: Vec::new(),
            count: 0,
            running: JoinSet::new(),
            is_kept: false,
            tail_bytes: 0,
            finish: None,
        }
    }

    /// Those of an attempt that may go on later: dropped, they stay.
    pub(super) fn of_attempt(store: Arc<BucketStore>, source: SourceId, attempt: Attempt) -> Self {
        let mut parts = Self::new(store, source);
        parts.attempt = attempt;
        parts.is_kept = true;
        parts.tail_bytes = SAVED_BYTES as u64;
        parts
    }

    pub(super) fn next_key(&self) -> Path {
        self.key(self.count)
    }

    /// The last one, and how many bytes of the archive it has.
    pub(super) fn last_key(&self) -> Option<(Path, u64)> {
        let Run(length, _) = self.lengths.last()?;
        Some((self.key(self.count - 1), *length))
    }

    /// How many bytes they have, all together.
    pub(super) fn total_bytes(&self) -> u64 {
        let runs = self.lengths.iter();
        runs.map(|Run(length, count)| length * count).sum()
    }

    /// How many runs there are with one more part of that length.
    pub(super) fn runs_with(&self, length: u64) -> usize {
        let goes_on = self.lengths.last().is_some_and(|run| run.0 == length);
        self.lengths.len() + usize::from(!goes_on)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn key(&self, number: u64) -> Path {
        let attempt = self.attempt;
        let role = Role::Part { attempt, number };
        self.store.keys.of(self.source, role)
    }

    /// Starts to put the next part, as soon as there is a slot for it. `memory` is what it holds of the memory
    /// for large parts.
    pub(super) async fn put(
        &mut self,
        part: PutPayload,
        memory: Option<OwnedSemaphorePermit>,
    ) -> Result<()> {
        let slot = Arc::clone(&self.store.upload_slots)
            .acquire_owned()
            .await
            .expect("this semaphore is never closed");
        // An earlier part that failed ends the upload.
        while let Some(done) = self.running.try_join_next() {
            settle(done)?;
        }
        let store = Arc::clone(&self.store);
        let key = self.key(self.count);
        self.note(part.content_length() as u64);
        self.running.spawn(async move {
            let put = store.objects().put(&key, part).await;
            drop((slot, memory));
            put.map(drop).map_err(failed("put a part"))
        });
        Ok(())
    }

    /// The next one has so many bytes of the archive.
    pub(super) fn note(&mut self, length: u64) {
        self.count += 1;
        match self.lengths.last_mut() {
            Some(run) if run.0 == length => run.1 += 1,
            _ => self.lengths.push(Run(length, 1)),
        }
    }

    /// Waits until one that is being put is durable; says whether there was any.
    pub(super) async fn settle_one(&mut self) -> Result<bool> {
        match self.running.join_next().await {
            Some(done) => settle(done).map(|()| true),
            None => Ok(false),
        }
    }

    /// Waits until all parts are durable.
    pub(super) async fn settle(&mut self) -> Result<()> {
        while self.settle_one().await? {}
        Ok(())
    }

    pub(super) const fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Deletes them; one that cannot be deleted goes when the source expires.
    pub(super) async fn abandon(&mut self) {
        if self.tail_bytes == 0 {
            return self.delete().await;
        }
        let forget = self
            .store
            .forget_attempt(self.source, self.attempt, self.finish);
        if let Err(error) = forget.await {
            tracing::warn!(
                error = chain(&error),
                "an upload in parts that was given up stays until its source expires"
            );
        }
    }

    /// Another upload was first. What can be asked for by its URL stays until the source expires, so as to tell.
    pub(super) async fn give_way(&mut self) {
        if self.tail_bytes == 0 {
            self.delete().await;
        }
    }

    fn delete(&mut self) -> impl Future<Output = ()> + use<> {
        self.is_kept = true;
        let store = Arc::clone(&self.store);
        let mut running = mem::take(&mut self.running);
        let keys = (0..self.count).map(|number| self.key(number)).collect();
        async move {
            // One that is being put must not arrive after its deletion.
            running.shutdown().await;
            for error in store.delete(keys).await.1 {
                tracing::warn!(
                    error = chain(&error),
                    "a part of a broken upload stays until its source expires"
                );
            }
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if self.is_kept || self.count == 0 {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(self.delete());
        }
    }
}
