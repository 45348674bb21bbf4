//! Taking an upload's bytes in: gathered into parts, which are put while the next one fills.
//!
//! ```text
//! write ──> part (1 MiB) ──> put, a few at once; over all uploads as many as there are slots
//!              │ full, and no slot is free: write() waits, and so does the client
//! ```

use std::sync::Arc;
use std::{mem, slice};

use bytes::{Bytes, BytesMut};

use super::parts::{PART_BYTES, Parts};
use super::shared::BucketStore;
use crate::digest::Digester;
use crate::source::SourceId;
use crate::store::archive::{Staged, Summary, UploadStart};
use crate::store::error::Result;

#[derive(Debug)]
pub struct BucketUpload {
    parts: Parts,
    summary: Summary,
    filling: BytesMut,
}

impl BucketStore {
    pub(crate) async fn begin_upload(
        self: &Arc<Self>,
        source: SourceId,
        declared_bytes: Option<u64>,
        digester: Digester,
    ) -> Result<UploadStart<BucketUpload>> {
        if let Some(record) = self.read_record(source).await? {
            return Ok(UploadStart::AlreadyUploaded(record.facts));
        }
        let declared = declared_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let first_bytes = declared.unwrap_or(PART_BYTES).min(PART_BYTES);
        Ok(UploadStart::Accepted(BucketUpload {
            parts: Parts::new(Arc::clone(self), source),
            summary: Summary::new(digester),
            filling: BytesMut::with_capacity(first_bytes),
        }))
    }
}

impl BucketUpload {
    pub(crate) async fn write(&mut self, mut chunk: Bytes) -> Result<()> {
        self.summary.take(slice::from_ref(&chunk));
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

    async fn put_part(&mut self) -> Result<()> {
        let part = mem::take(&mut self.filling);
        self.parts.put(part.freeze()).await
    }

    pub(crate) async fn finish(mut self) -> Result<Staged<Parts>> {
        if !self.filling.is_empty() {
            self.put_part().await?;
        }
        self.parts.settle().await?;
        Ok(self.summary.into_staged(self.parts))
    }

    pub(crate) async fn abandon(self) {
        self.parts.abandon().await;
    }
}
