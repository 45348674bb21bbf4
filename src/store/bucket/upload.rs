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
use super::publish::StagedParts;
use super::shared::BucketStore;
use crate::digest::Digester;
use crate::source::{Facts, SourceId};
use crate::store::archive::{Staged, Summary, UploadStart};
use crate::store::error::{Result, settle};

/// What is no longer is put whole.
const SMALL_BYTES: usize = 4 * PIECE_BYTES;
/// No part is longer.
const LARGEST_PART_BYTES: usize = 16 * PIECE_BYTES;
/// How many parts an archive has at most, as long as none is the longest there is. Fewer would be cheaper, and slower:
/// the last one waits for all of the archive.
const PARTS: u64 = 16;

#[derive(Debug)]
pub struct BucketUpload {
    parts: Parts,
    summary: Summary,
    filling: Filling,
    /// How long a part is to become.
    part_bytes: usize,
    growth: Growth,
    look: Option<JoinHandle<Result<Option<Facts>>>>,
    /// The archive that was there before: this upload is only digested any more.
    first: Option<Facts>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    /// Of unknown length: each part is twice as long as the one before it.
    Doubling,
    None,
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
            Some(bytes) if bytes <= SMALL_BYTES as u64 => {}
            Some(_) => {
                let store = Arc::clone(self);
                look = Some(tokio::spawn(async move { store.find_first(source).await }));
            }
        }
        let part_bytes = part_bytes_for(declared_bytes);
        let declared = declared_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        Ok(UploadStart::Accepted(BucketUpload {
            parts: Parts::new(Arc::clone(self), source),
            summary: Summary::new(digester),
            filling: Filling::with_room_for(declared.unwrap_or(PIECE_BYTES)),
            part_bytes,
            growth: match declared_bytes {
                None => Growth::Doubling,
                Some(_) => Growth::None,
            },
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

/// A sixteenth of the archive, within bounds; rounded up, so that lengths repeat.
fn part_bytes_for(declared_bytes: Option<u64>) -> usize {
    let Some(bytes) = declared_bytes else {
        return PIECE_BYTES;
    };
    let bytes = bytes.div_ceil(PARTS);
    let bytes = usize::try_from(bytes).unwrap_or(LARGEST_PART_BYTES);
    bytes
        .clamp(SMALL_BYTES, LARGEST_PART_BYTES)
        .next_power_of_two()
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
    /// very upload, it is waited for; what others hold is not, and parts stay shorter from then on: so there
    /// are only a few lengths for a record to name.
    async fn grow(&mut self) -> Result<bool> {
        if self.filling.len() >= self.part_bytes {
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
        self.part_bytes = self.filling.len();
        self.growth = Growth::None;
        Ok(false)
    }

    /// Has the part put, unless another upload was first.
    async fn put_part(&mut self) -> Result<()> {
        self.note_look().await?;
        if self.first.is_some() {
            return Ok(());
        }
        let (part, memory) =
            mem::replace(&mut self.filling, Filling::with_room_for(0)).into_payload();
        self.parts.put(part, memory).await?;
        if self.growth == Growth::Doubling {
            self.part_bytes = (self.part_bytes * 2).min(LARGEST_PART_BYTES);
        }
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
