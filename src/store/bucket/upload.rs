//! Taking an upload's bytes in: gathered into parts, which are put while the next one fills.
//!
//! ```text
//! write ──> part (1 MiB) ──> put, a few at once; over all uploads as many as there are slots
//!              │ full, and no slot is free: write() waits, and so does the client
//! ```

use std::mem;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::parts::{PART_BYTES, Parts};
use super::publish::StagedParts;
use super::shared::Shared;
use crate::digest::Digester;
use crate::media::{MAGIC_BYTES, MediaType};
use crate::source::SourceId;
use crate::store::archive::Staged;
use crate::store::error::StoreError;

/// An upload to a bucket under way.
#[derive(Debug)]
pub struct BucketUpload {
    parts: Parts,
    digester: Digester,
    head: Vec<u8>,
    size_bytes: u64,
    filling: BytesMut,
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
            parts: Parts::new(shared, source),
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
                // Only now: an upload that waits for its part to be taken has no second one.
                self.filling = BytesMut::with_capacity(PART_BYTES);
            }
        }
        Ok(())
    }

    async fn put_part(&mut self) -> Result<(), StoreError> {
        let part = mem::take(&mut self.filling);
        self.parts.put(part.freeze()).await
    }

    pub(in crate::store) async fn finish(mut self) -> Result<Staged<StagedParts>, StoreError> {
        if !self.filling.is_empty() {
            self.put_part().await?;
        }
        self.parts.settle().await?;
        Ok(Staged {
            size_bytes: self.size_bytes,
            digests: self.digester.finish(),
            media_type: MediaType::of(&self.head),
            place: StagedParts::new(self.parts),
        })
    }

    pub(in crate::store) async fn abandon(self) {
        self.parts.take_back().await;
    }
}
