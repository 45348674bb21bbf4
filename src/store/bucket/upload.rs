//! Taking an upload's bytes in: gathered into parts, which are put while the next one fills.
//!
//! ```text
//! write ──> part, 1 to 16 MiB ──> put, a few at once; over all uploads as many as there are slots
//!              │ full, and no slot is free: write() waits, and so does the client
//!              └ no part was put, since all of it fits into one: it becomes the record's own
//! ```
//!
//! One that says that it is that small is not looked for before: that it would be the second shows when its record is
//! created. One that says that it is larger is looked for while it is sent.

use std::sync::Arc;
use std::{mem, slice};

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::filling::{Filling, PIECE_BYTES};
use super::parts::Parts;
use super::plan::{self, Plan};
use super::publish::StagedParts;
use super::shared::BucketStore;
use crate::digest::Digester;
use crate::source::{Facts, SourceId};
use crate::store::archive::{Staged, Summary, UploadStart};
use crate::store::error::{Result, settle};

#[derive(Debug)]
pub struct BucketUpload {
    parts: Parts,
    summary: Summary,
    filling: Filling,
    plan: Plan,
    look: Option<JoinHandle<Result<Option<Facts>>>>,
    /// The archive that was there before: this upload is only digested any more.
    first: Option<Facts>,
}

impl BucketStore {
    pub(crate) async fn begin_upload(
        self: &Arc<Self>,
        source: SourceId,
        declared_bytes: Option<u64>,
        digester: Digester,
    ) -> Result<UploadStart<BucketUpload>> {
        let mut look = None;
        match declared_bytes {
            None => {
                if let Some(first) = self.find_first(source).await? {
                    return Ok(UploadStart::AlreadyUploaded(first));
                }
            }
            Some(bytes) if plan::is_small(bytes) => {}
            Some(_) => {
                let store = Arc::clone(self);
                look = Some(tokio::spawn(async move { store.find_first(source).await }));
            }
        }
        let declared = declared_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        Ok(UploadStart::Accepted(BucketUpload {
            parts: Parts::new(Arc::clone(self), source),
            summary: Summary::new(digester),
            filling: Filling::with_room_for(declared.unwrap_or(PIECE_BYTES)),
            plan: Plan::new(declared_bytes),
            look,
            first: None,
        }))
    }

    /// The archive of `source`, if another upload was first.
    pub(crate) async fn find_first(&self, source: SourceId) -> Result<Option<Facts>> {
        let found = self.read_record(source).await?;
        Ok(found.map(|record| record.facts))
    }
}

impl BucketUpload {
    pub(crate) async fn write(&mut self, mut chunk: Bytes) -> Result<()> {
        self.summary.take(slice::from_ref(&chunk));
        while !chunk.is_empty() && self.first.is_none() {
            if self.filling.is_full() && !self.grow().await? {
                self.put_part().await?;
            } else {
                self.filling.take(&mut chunk);
            }
        }
        Ok(())
    }

    /// The archive that another upload has published before, once that has been noticed.
    pub(crate) const fn first(&self) -> Option<&Facts> {
        self.first.as_ref()
    }

    /// Makes room in the part that fills, if it is to become longer. While the memory is held by parts of this
    /// very upload, it is waited for; what others hold is not, and the part stays as it is.
    async fn grow(&mut self) -> Result<bool> {
        if self.filling.pieces() >= self.plan.next() {
            return Ok(false);
        }
        let memory = Arc::clone(&self.parts.store.upload_memory);
        while !self.filling.is_slow() {
            if self.filling.grow(&memory) {
                return Ok(true);
            }
            let waiting = Instant::now();
            if !self.parts.settle_one().await? {
                break;
            }
            self.filling.excuse(waiting.elapsed());
        }
        Ok(false)
    }

    /// Has the part put, unless another upload was first.
    async fn put_part(&mut self) -> Result<()> {
        self.note_look().await?;
        if self.first.is_some() {
            return Ok(());
        }
        self.plan.cut(self.filling.pieces());
        let (part, memory) =
            mem::replace(&mut self.filling, Filling::with_room_for(0)).into_payload();
        self.parts.put(part, memory).await?;
        // Only now: an upload that waits for its part to be taken has no second one.
        self.filling = Filling::with_room_for(PIECE_BYTES);
        Ok(())
    }

    /// Learns what the look has found, if it has come to its end.
    async fn note_look(&mut self) -> Result<()> {
        let Some(look) = self.look.take_if(|look| look.is_finished()) else {
            return Ok(());
        };
        self.first = settle(look.await)?;
        if self.first.is_some() {
            self.filling = Filling::with_room_for(0);
            self.parts.abandon().await;
        }
        Ok(())
    }

    pub(crate) async fn finish(mut self) -> Result<Staged<StagedParts>> {
        let mut rest = Vec::new();
        if self.parts.is_empty() {
            rest = self.filling.into_parts().0;
        } else if self.first.is_none() && self.filling.len() > 0 {
            self.put_part().await?;
        }
        self.parts.settle().await?;
        let staged = StagedParts {
            parts: self.parts,
            rest,
            first: self.first,
        };
        Ok(self.summary.into_staged(staged))
    }

    pub(crate) async fn abandon(mut self) {
        self.parts.abandon().await;
    }
}
