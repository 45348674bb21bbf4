//! Taking an upload's bytes in: gathered into parts, which are put while the next one fills.
//!
//! ```text
//! write ──> part (1 MiB) ──> put, a few at once; over all uploads as many as there are slots
//!              │ full, and no slot is free: write() waits, and so does the client
//! ```

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use object_store::ObjectStoreExt;
use tokio::task::JoinSet;

use super::engine::failed;
use super::keys::Attempt;
use super::publish::StagedParts;
use super::{PART_BYTES, Shared};
use crate::digest::Digester;
use crate::media::{MAGIC_BYTES, MediaType};
use crate::source::SourceId;
use crate::store::{Staged, StagedPlace, StoreError};

/// An upload to a bucket under way.
#[derive(Debug)]
pub struct BucketUpload {
    parts: PutParts,
    digester: Digester,
    head: Vec<u8>,
    size_bytes: u64,
    filling: BytesMut,
}

/// The parts that have been put or are being put; dropping them takes them back.
#[derive(Debug)]
pub(super) struct PutParts {
    pub(super) shared: Arc<Shared>,
    pub(super) source: SourceId,
    pub(super) attempt: Attempt,
    pub(super) count: u64,
    running: JoinSet<Result<(), StoreError>>,
    /// Set when the parts belong to a record, or may: then they must stay.
    is_kept: bool,
}

impl BucketUpload {
    pub(super) fn new(
        shared: Arc<Shared>,
        source: SourceId,
        declared_bytes: Option<u64>,
        digester: Digester,
    ) -> Self {
        let declared = declared_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let first_bytes = declared.unwrap_or(PART_BYTES).min(PART_BYTES);
        Self {
            parts: PutParts {
                shared,
                source,
                attempt: Attempt::new(rand::random()),
                count: 0,
                running: JoinSet::new(),
                is_kept: false,
            },
            digester,
            head: Vec::with_capacity(MAGIC_BYTES),
            size_bytes: 0,
            filling: BytesMut::with_capacity(first_bytes),
        }
    }

    pub(in crate::store) async fn write(&mut self, mut chunk: Bytes) -> Result<(), StoreError> {
        self.digester.update(&chunk);
        let missing = MAGIC_BYTES - self.head.len();
        self.head.extend(chunk.iter().take(missing));
        self.size_bytes += chunk.len() as u64;
        while !chunk.is_empty() {
            let room = PART_BYTES - self.filling.len();
            // Copied, since a chunk may hold on to a far larger buffer that it is a piece of.
            self.filling
                .extend_from_slice(&chunk.split_to(room.min(chunk.len())));
            if self.filling.len() == PART_BYTES {
                self.put_part().await?;
            }
        }
        Ok(())
    }

    async fn put_part(&mut self) -> Result<(), StoreError> {
        let part = std::mem::take(&mut self.filling);
        self.parts.put(part.freeze()).await?;
        // Only now: an upload that waits for its part to be taken has no second one.
        self.filling = BytesMut::with_capacity(PART_BYTES);
        Ok(())
    }

    pub(in crate::store) async fn finish(mut self) -> Result<Staged, StoreError> {
        if !self.filling.is_empty() {
            let part = std::mem::take(&mut self.filling);
            self.parts.put(part.freeze()).await?;
        }
        self.parts.settle().await?;
        Ok(Staged {
            size_bytes: self.size_bytes,
            digests: self.digester.finish(),
            media_type: MediaType::of(&self.head),
            place: StagedPlace::Bucket(StagedParts::new(self.parts)),
        })
    }

    pub(in crate::store) async fn abandon(self) {
        self.parts.take_back().await;
    }
}

impl PutParts {
    /// Starts to put the next part, as soon as there is a slot for it.
    async fn put(&mut self, part: Bytes) -> Result<(), StoreError> {
        let slot = Arc::clone(&self.shared.upload_slots)
            .acquire_owned()
            .await
            .expect("this semaphore is never closed");
        // An earlier part that failed ends the upload.
        while let Some(done) = self.running.try_join_next() {
            settle(done)?;
        }
        let shared = Arc::clone(&self.shared);
        let key = shared.keys.part(self.source, &self.attempt, self.count);
        self.count += 1;
        self.running.spawn(async move {
            let put = shared.objects().put(&key, part.into()).await;
            drop(slot);
            put.map(drop).map_err(failed("put a part"))
        });
        Ok(())
    }

    /// Waits until all parts are durable.
    async fn settle(&mut self) -> Result<(), StoreError> {
        while let Some(done) = self.running.join_next().await {
            settle(done)?;
        }
        Ok(())
    }

    /// They belong to a record, or may.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Deletes them, as far as the engine lets us; what is left goes when the source expires.
    pub(super) async fn take_back(mut self) {
        self.is_kept = true;
        let running = std::mem::take(&mut self.running);
        delete(
            Arc::clone(&self.shared),
            self.source,
            self.attempt.clone(),
            self.count,
            running,
        )
        .await;
    }
}

impl Drop for PutParts {
    fn drop(&mut self) {
        if self.is_kept || self.count == 0 {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let running = std::mem::take(&mut self.running);
            runtime.spawn(delete(
                Arc::clone(&self.shared),
                self.source,
                self.attempt.clone(),
                self.count,
                running,
            ));
        }
    }
}

async fn delete(
    shared: Arc<Shared>,
    source: SourceId,
    attempt: Attempt,
    count: u64,
    mut running: JoinSet<Result<(), StoreError>>,
) {
    use futures_util::StreamExt;
    // One that is being put must not arrive after its deletion.
    running.shutdown().await;
    let keys: Vec<_> = (0..count)
        .map(|number| Ok(shared.keys.part(source, &attempt, number)))
        .collect();
    let keys = futures_util::stream::iter(keys).boxed();
    let mut deleted = shared.objects().delete_stream(keys);
    while let Some(done) = deleted.next().await {
        match done {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(
                    error = crate::error_chain::chain(&error),
                    "a part of a broken upload stays until its source expires"
                );
            }
        }
    }
}

fn settle(
    joined: Result<Result<(), StoreError>, tokio::task::JoinError>,
) -> Result<(), StoreError> {
    match joined {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(StoreError::Ending),
        },
    }
}
