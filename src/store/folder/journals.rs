//! Journals as files: bytes behind two slots, which say how many of them are durable.
//!
//! ```text
//! offset 0: a slot │ 4096: the other │ 8192: the bytes
//!
//! append: bytes ── the slot that is not current ── sync ──> they are shown
//! ```
//!
//! One append to a journal runs at a time, and until its sync has returned, readers in this process are told
//! the length before it. What a killed server had written and not synced is synced by the next one when it
//! claims the store; what a power cut tears fails the check of its [`slot`].

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::shared::{FolderStore, open_to_read, private_file};
use super::slot::{self, Durable, SLOT_BYTES, Slot};
use super::threads::Work;
use super::turns::Turn;
use crate::error_chain::chain;
use crate::mutex::lock;
use crate::store::error::{Result, StoreError};
use crate::store::journal::{Appended, JournalKey};

/// Each slot has a block of its own, so that no device tears both at once.
const SLOTS_AT: [u64; 2] = [0, 4096];
const BYTES_AT: u64 = 8192;
/// Of how many journals it is kept in memory how long they are. Others are looked at.
const KNOWN_JOURNALS: usize = 10_000;

impl FolderStore {
    /// Appends that have begun go on even if nobody waits for their end any more.
    pub(crate) async fn append_journal(
        self: &Arc<Self>,
        key: &JournalKey,
        offset: u64,
        bytes: Bytes,
    ) -> Result<Appended> {
        let turn = self.journal_turns.take(*key).await;
        let append = move |store: &Arc<Self>| store.append(&turn, offset, &bytes);
        self.run(Work::Write, append).await
    }

    pub(crate) async fn read_journal(
        self: &Arc<Self>,
        key: &JournalKey,
        offset: u64,
        limit_bytes: usize,
    ) -> Result<Bytes> {
        let key = *key;
        let read = move |store: &Arc<Self>| store.read_at_offset(&key, offset, limit_bytes);
        self.run(Work::Read, read).await
    }

    pub(crate) async fn journal_length(self: &Arc<Self>, key: &JournalKey) -> Result<u64> {
        if let Some(durable) = lock(&self.known_journals).get(key) {
            return Ok(durable.length);
        }
        let key = *key;
        let look = move |store: &Arc<Self>| Ok(store.durable(&key)?.length);
        self.run(Work::Look, look).await
    }

    pub(crate) async fn delete_journal(self: &Arc<Self>, key: &JournalKey) -> Result<()> {
        let turn = self.journal_turns.take(*key).await;
        let delete = move |store: &Arc<Self>| {
            lock(&store.known_journals).remove(turn.key());
            let is_removed = store.remove_file(&store.layout.journal(turn.key()))?;
            // Also if it was gone: whoever removed it may not have synced that yet.
            match store.sync_folder(&store.layout.journals()) {
                Err(error) if error.is_not_found() && !is_removed => Ok(()),
                synced => synced,
            }
        };
        self.run(Work::Look, delete).await
    }

    fn append(
        self: &Arc<Self>,
        turn: &Turn<JournalKey>,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Appended> {
        let key = turn.key();
        let before = self.durable(key)?;
        if offset != before.length || bytes.is_empty() {
            let length = before.length;
            return Ok(Appended::Mismatch { length });
        }
        let _room = self.reserve(bytes.len() as u64)?;
        let path = self.layout.journal(key);
        let file = match self.open_to_append(&path, before) {
            Err(error) if error.is_not_found() && before.length > 0 => {
                lock(&self.known_journals).remove(key);
                return Ok(Appended::Mismatch { length: 0 });
            }
            opened => opened?,
        };
        // From here on readers must not believe what the file says.
        self.note_durable(key, before);
        let after = Durable {
            length: offset + bytes.len() as u64,
            slot: if offset == 0 { 0 } else { 1 - before.slot },
        };
        self.write_at(&file, &path, bytes, BYTES_AT + offset)?;
        let slot = slot::encode(key, after.length, bytes);
        let written = self
            .write_at(&file, &path, &slot, SLOTS_AT[after.slot])
            .and_then(|()| self.sync_file(&file, &path))
            .and_then(|()| self.sync_name(offset));
        if let Err(error) = written {
            self.take_slot_back(&file, &path, after.slot);
            return Err(error);
        }
        self.note_durable(key, after);
        let length = after.length;
        Ok(Appended::Done { length })
    }

    /// The name of a journal becomes durable with its first bytes.
    fn sync_name(&self, offset: u64) -> Result<()> {
        if offset > 0 {
            return Ok(());
        }
        self.sync_folder(&self.layout.journals())
    }

    fn open_to_append(&self, path: &Path, before: Durable) -> Result<File> {
        let mut options = private_file();
        options.read(true);
        if before.length > 0 {
            return self.call("open", "open", path, || options.open(path));
        }
        options.create(true);
        match self.call("create", "create", path, || options.open(path)) {
            Err(error) if error.is_not_found() => {
                self.make_folders()?;
                self.call("create", "create", path, || options.open(path))
            }
            opened => opened,
        }
    }

    /// What was written and is not known to be durable must not be shown: its append is answered with an error.
    fn take_slot_back(&self, file: &File, path: &Path, slot: usize) {
        let erased = self
            .write_at(file, path, &[0; SLOT_BYTES], SLOTS_AT[slot])
            .and_then(|()| self.sync_file(file, path));
        if let Err(error) = erased {
            tracing::error!(
                error = chain(&error),
                "bytes of a journal may stay although they were refused"
            );
        }
    }

    fn write_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> Result<()> {
        let written = self.faults.write_all_at(file, bytes, offset);
        written.map_err(|error| StoreError::of_system("write", "write", path, error))
    }

    fn read_at_offset(&self, key: &JournalKey, offset: u64, limit_bytes: usize) -> Result<Bytes> {
        let left = self.durable(key)?.length.saturating_sub(offset);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(limit_bytes);
        if wanted == 0 {
            return Ok(Bytes::new());
        }
        let path = self.layout.journal(key);
        let mut bytes = vec![0; wanted];
        let read = || open_to_read(&path)?.read_exact_at(&mut bytes, BYTES_AT + offset);
        match self.call("read", "read", &path, read) {
            Ok(()) => Ok(bytes.into()),
            // It was deleted just now.
            Err(error) if error.is_not_found() => Ok(Bytes::new()),
            Err(error) if error.io_kind() == Some(io::ErrorKind::UnexpectedEof) => {
                Err(corrupt(&path, "it is shorter than it was"))
            }
            Err(error) => Err(error),
        }
    }

    /// What is durable of a journal: what this process knows, or else what its file says.
    fn durable(&self, key: &JournalKey) -> Result<Durable> {
        let known = lock(&self.known_journals).get(key).copied();
        if let Some(durable) = known {
            return Ok(durable);
        }
        let found = self.look_at_slots(key)?;
        // In this order: an append that has begun since has noted what was durable before it.
        let known = lock(&self.known_journals).get(key).copied();
        Ok(known.unwrap_or(found))
    }

    /// What the file of a journal says, if its last append is whole, and else what it said before.
    pub(super) fn look_at_slots(&self, key: &JournalKey) -> Result<Durable> {
        let path = self.layout.journal(key);
        let file = match self.call("open", "open", &path, || open_to_read(&path)) {
            Err(error) if error.is_not_found() => return Ok(Durable::default()),
            opened => opened?,
        };
        let found = self.call("read", "read", &path, || {
            let [first, second] = SLOTS_AT;
            Ok([
                read_slot(&file, key, first)?,
                read_slot(&file, key, second)?,
            ])
        })?;
        let whole = (0..).zip(found).filter_map(|(slot, found)| match found {
            Found::Whole(Slot { length, .. }) => Some(Durable { length, slot }),
            Found::Nothing | Found::Torn => None,
        });
        match whole.max_by_key(|durable| durable.length) {
            Some(durable) => Ok(durable),
            None if matches!(found[1], Found::Nothing) => Ok(Durable::default()),
            // The second is written only once the first is durable.
            None => Err(corrupt(&path, "it does not say how long it is")),
        }
    }

    fn note_durable(&self, key: &JournalKey, durable: Durable) {
        let mut known = lock(&self.known_journals);
        if known.len() >= KNOWN_JOURNALS {
            known.retain(|key, _| self.journal_turns.is_taken(*key));
        }
        known.insert(*key, durable);
    }

    /// Is the file of a journal as long as it says, at least?
    pub(super) fn check_journal(&self, key: &JournalKey) -> Result<()> {
        let length = self.durable(key)?.length;
        let path = self.layout.journal(key);
        match self.call("stat", "inspect", &path, || fs::metadata(&path)) {
            Ok(file) if length == 0 || file.len() >= BYTES_AT + length => Ok(()),
            Ok(_) => Err(corrupt(&path, "it is shorter than it was")),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What stands in a slot.
#[derive(Clone, Copy)]
enum Found {
    /// It was never written, or taken back.
    Nothing,
    Torn,
    Whole(Slot),
}

fn read_slot(file: &File, key: &JournalKey, at: u64) -> io::Result<Found> {
    let mut bytes = [0; SLOT_BYTES];
    if !read_whole(file, &mut bytes, at)? || bytes == [0; SLOT_BYTES] {
        return Ok(Found::Nothing);
    }
    let Some(slot) = slot::decode(&bytes) else {
        return Ok(Found::Torn);
    };
    let mut appended = vec![0; slot.appended_bytes];
    let is_whole = read_whole(file, &mut appended, BYTES_AT + slot.appended_at())?;
    Ok(if is_whole && slot.is_of(key, &appended) {
        Found::Whole(slot)
    } else {
        Found::Torn
    })
}

/// Reads so many bytes; says whether there are as many.
fn read_whole(file: &File, bytes: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn corrupt(path: &Path, problem: &'static str) -> StoreError {
    StoreError::Corrupt {
        path: path.to_owned(),
        problem,
    }
}
