//! The part of an upload that fills with what its client sends: in pieces of a mebibyte, which are not moved as it grows.
//!
//! The first piece is free, so that every upload can go on. The others are taken out of a memory that all uploads
//! share, and only as the bytes come: what a slow client holds is little.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use object_store::PutPayload;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// What memory is counted in.
pub(super) const PIECE_BYTES: usize = 1024 * 1024;
/// A client that takes longer for a piece holds no other one.
const PIECE_TIME: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Filling {
    full: Vec<Bytes>,
    last: BytesMut,
    began: Instant,
    memory: Option<OwnedSemaphorePermit>,
}

impl Filling {
    /// With room for `bytes`, or for a piece if these are more.
    pub(super) fn with_room_for(bytes: usize) -> Self {
        Self {
            full: Vec::new(),
            last: BytesMut::with_capacity(bytes.min(PIECE_BYTES)),
            began: Instant::now(),
            memory: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.full.len() * PIECE_BYTES + self.last.len()
    }

    /// How many pieces it has; the last one may be empty.
    pub(super) fn pieces(&self) -> u64 {
        self.full.len() as u64 + 1
    }

    pub(super) fn is_full(&self) -> bool {
        self.last.len() == PIECE_BYTES
    }

    /// Takes what there is room for from the front of `chunk`.
    pub(super) fn take(&mut self, chunk: &mut Bytes) {
        let room = PIECE_BYTES - self.last.len();
        // Copied, since a chunk may hold on to a far larger buffer that it is a piece of.
        let taken = chunk.split_to(room.min(chunk.len()));
        self.last.extend_from_slice(&taken);
    }

    /// Does its client send too slowly to be given more room?
    pub(super) fn is_slow(&self) -> bool {
        let pieces = self.full.len() + 1;
        let pieces = u32::try_from(pieces).unwrap_or(u32::MAX);
        self.began.elapsed() > PIECE_TIME * pieces
    }

    /// Its client was kept waiting for so long: that was not its own slowness.
    pub(super) fn excuse(&mut self, waited: Duration) {
        self.began += waited;
    }

    /// Makes room for one piece more, if there is memory for it.
    pub(super) fn grow(&mut self, memory: &Arc<Semaphore>) -> bool {
        let Ok(permit) = Arc::clone(memory).try_acquire_owned() else {
            return false;
        };
        match &mut self.memory {
            Some(held) => held.merge(permit),
            None => self.memory = Some(permit),
        }
        let full = mem::replace(&mut self.last, BytesMut::with_capacity(PIECE_BYTES));
        self.full.push(full.freeze());
        true
    }

    /// What it holds, and of the shared memory.
    pub(super) fn into_parts(mut self) -> (Vec<Bytes>, Option<OwnedSemaphorePermit>) {
        self.full.push(self.last.freeze());
        (self.full, self.memory)
    }

    pub(super) fn into_payload(self) -> (PutPayload, Option<OwnedSemaphorePermit>) {
        let (pieces, memory) = self.into_parts();
        (pieces.into_iter().collect(), memory)
    }
}
