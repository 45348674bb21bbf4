//! The attempts to upload in parts that can go on, as this process knows them: those that an earlier one had begun, too.
//! Pure.

use std::collections::HashMap;
use std::mem;

use super::footer::FOOTER_BYTES;
use crate::clock::Timestamp;
use crate::source::SourceId;
use crate::store::attempt::{Attempt, Saved};

/// One for a source.
#[derive(Debug, Default)]
pub(super) struct AttemptBook(HashMap<SourceId, Known>);

#[derive(Clone, Copy, Debug)]
struct Known {
    attempt: Attempt,
    /// The room that is kept for what was announced and has not been sent. While a request works on it, that keeps it.
    room_bytes: u64,
    /// How long it will be, or is, if that is not known.
    size_bytes: u64,
}

impl AttemptBook {
    pub(super) fn attempt_of(&self, source: SourceId) -> Option<Attempt> {
        self.0.get(&source).map(|known| known.attempt)
    }

    /// Notes how far an attempt is, in place of any other of its source. Returns how much room was kept before, and how
    /// much is to be kept now.
    pub(super) fn note(&mut self, source: SourceId, attempt: Attempt, saved: &Saved) -> (u64, u64) {
        let known = Known {
            attempt,
            room_bytes: room_for(saved),
            size_bytes: saved.announced_bytes.unwrap_or(saved.offset),
        };
        let before = self.0.insert(source, known);
        (before.map_or(0, |known| known.room_bytes), known.room_bytes)
    }

    /// Returns how much room was kept for it.
    pub(super) fn forget(&mut self, source: SourceId, attempt: Attempt) -> u64 {
        let is_it = self.attempt_of(source) == Some(attempt);
        let known = is_it.then(|| self.0.remove(&source)).flatten();
        known.map_or(0, |known| known.room_bytes)
    }

    /// Returns how much room was kept for those.
    pub(super) fn forget_expired(&mut self, now: Timestamp) -> u64 {
        let expired = self.0.extract_if(|source, _| source.is_expired(now));
        expired.map(|(_, known)| known.room_bytes).sum()
    }

    /// The room that is kept for it goes over to who asks.
    pub(super) fn take_room(&mut self, source: SourceId, attempt: Attempt) -> u64 {
        let known = self.0.get_mut(&source);
        let known = known.filter(|known| known.attempt == attempt);
        known.map_or(0, |known| mem::take(&mut known.room_bytes))
    }

    /// Notes how far an attempt is whose room was taken, unless it was forgotten meanwhile. Returns as [`note`](Self::note)
    /// does.
    pub(super) fn give_back(
        &mut self,
        source: SourceId,
        attempt: Attempt,
        saved: &Saved,
    ) -> Option<(u64, u64)> {
        let is_it = self.attempt_of(source) == Some(attempt);
        is_it.then(|| self.note(source, attempt, saved))
    }

    /// All of them, and how long they are to be.
    pub(super) fn list(&self) -> Vec<(SourceId, Attempt, u64)> {
        let known = self.0.iter();
        known
            .map(|(source, known)| (*source, known.attempt, known.size_bytes))
            .collect()
    }
}

/// What is still to come of an attempt, and its facts.
pub(super) fn room_for(saved: &Saved) -> u64 {
    let announced_bytes = saved.announced_bytes.unwrap_or(0);
    let rest = announced_bytes.saturating_sub(saved.offset);
    rest.saturating_add(FOOTER_BYTES as u64)
}
