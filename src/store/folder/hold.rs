//! The right to work on an attempt to upload in parts: who has it saves how far the bytes are. It goes along with the
//! file of bytes, so that no write of an older request comes later.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::attempt_book::AttemptBook;
use super::attempt_state::SLOTS_AT;
use super::room::Reservation;
use super::shared::FolderStore;
use super::turns::Turn;
use crate::clock::Timestamp;
use crate::error_chain::chain;
use crate::source::SourceId;
use crate::store::attempt::{Attempt, SAVED_BYTES, Saved, context};
use crate::store::error::{Result, StoreError};

/// What becomes of an attempt's files when the file of bytes is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// Somebody may go on.
    Stays,
    /// The bytes have the name of an archive now, or are not wanted any more.
    Ended,
    /// There is to be no such attempt.
    Cancelled,
}

/// The right to work on an attempt, given back when dropped.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) store: Arc<FolderStore>,
    pub(super) turn: Turn<SourceId>,
    pub(super) attempt: Attempt,
    pub(super) state: File,
    pub(super) state_path: PathBuf,
    /// Which slot of the state counts.
    pub(super) slot: usize,
    pub(super) saved: Saved,
    pub(super) leaving: Leaving,
}

impl Hold {
    /// Saves how far the bytes are, which are durable.
    pub(super) fn save(&mut self, saved: Saved) -> Result<()> {
        let slot = 1 - self.slot;
        let bytes = saved.encode(&context(*self.turn.key(), self.attempt));
        let store = Arc::clone(&self.store);
        let written = self
            .write_slot(&bytes, slot)
            .and_then(|()| store.sync_file(&self.state, &self.state_path));
        if let Err(error) = written {
            self.take_slot_back(slot);
            return Err(error);
        }
        self.slot = slot;
        self.saved = saved;
        Ok(())
    }

    /// There is to be no such attempt. The state goes before the bytes: what is left without one was never told of. If it
    /// stays it is known, and goes with the next beginning.
    pub(super) fn remove_state(&mut self) {
        match self.store.remove_file(&self.state_path) {
            Ok(_) => self.leaving = Leaving::Ended,
            Err(error) => tracing::error!(
                error = chain(&error),
                "the state of a cancelled upload stays until its source expires, or another is begun"
            ),
        }
    }

    fn write_slot(&self, bytes: &[u8], slot: usize) -> Result<()> {
        let written = self
            .store
            .faults
            .write_all_at(&self.state, bytes, SLOTS_AT[slot]);
        written.map_err(|error| StoreError::of_system("write", "write", &self.state_path, error))
    }

    /// What may not be durable must not be told.
    fn take_slot_back(&self, slot: usize) {
        let erased = self
            .write_slot(&[0; SAVED_BYTES], slot)
            .and_then(|()| self.store.sync_file(&self.state, &self.state_path));
        if let Err(error) = erased {
            tracing::error!(
                error = chain(&error),
                "an upload in parts may seem to be further than its client was told"
            );
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let source = *self.turn.key();
        match self.leaving {
            Leaving::Stays | Leaving::Cancelled => {
                self.store
                    .give_attempt_back(source, self.attempt, &self.saved);
            }
            Leaving::Ended => self.store.forget_attempt(source, self.attempt),
        }
    }
}

impl FolderStore {
    pub(crate) fn known_attempt(&self, source: SourceId) -> Option<Attempt> {
        self.attempt_book().attempt_of(source)
    }

    /// Keeps in mind that an attempt can go on, and keeps room for the rest of it.
    pub(super) fn note_attempt(&self, source: SourceId, attempt: Attempt, saved: &Saved) {
        let mut book = self.attempt_book();
        let (before_bytes, bytes) = book.note(source, attempt, saved);
        self.keep_room(before_bytes, bytes);
    }

    /// The same of one that was worked on. An archive may have been published meanwhile: then no room is kept for it again.
    fn give_attempt_back(&self, source: SourceId, attempt: Attempt, saved: &Saved) {
        let mut book = self.attempt_book();
        if let Some((before_bytes, bytes)) = book.give_back(source, attempt, saved) {
            self.keep_room(before_bytes, bytes);
        }
    }

    pub(super) fn forget_attempt(&self, source: SourceId, attempt: Attempt) {
        let mut book = self.attempt_book();
        let bytes = book.forget(source, attempt);
        self.keep_room(bytes, 0);
    }

    /// Its source has an archive: nobody goes on, and no room is kept for that.
    pub(super) fn forget_attempt_of(&self, source: SourceId) {
        if let Some(attempt) = self.known_attempt(source) {
            self.forget_attempt(source, attempt);
        }
    }

    pub(super) fn forget_expired_attempts(&self, now: Timestamp) {
        let mut book = self.attempt_book();
        let bytes = book.forget_expired(now);
        self.keep_room(bytes, 0);
    }

    pub(super) fn take_room(self: &Arc<Self>, source: SourceId, attempt: Attempt) -> Reservation {
        let bytes = self.attempt_book().take_room(source, attempt);
        Reservation::taken_over(self, bytes)
    }

    /// Held until the room is counted, too: of two who change what is kept for an attempt, the later one may take away what
    /// the earlier one is still to add.
    pub(super) fn attempt_book(&self) -> MutexGuard<'_, AttemptBook> {
        let book = self.attempt_book.lock();
        book.unwrap_or_else(PoisonError::into_inner)
    }
}
