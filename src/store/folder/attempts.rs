//! Attempts to upload in parts: a file of bytes that grows, and one beside it that says how many of them are durable.
//!
//! ```text
//! append: bytes ── sync ──> the slot that is not current ── sync ──> the offset is told
//! the end: the bytes are published as those of any upload; the state stays until the source expires
//! ```
//!
//! One request works on an attempt at a time. What was written and never saved is cut off before anybody goes on.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::attempt_book::room_for;
use super::attempt_state::{FoundState, encode};
use super::hold::{Hold, Leaving};
use super::layout::{AttemptFile, Minute};
use super::publish::StagedFile;
use super::shared::{FolderStore, private_file};
use super::stage::StageFile;
use super::threads::Work;
use super::turns::Turn;
use super::upload::FolderUpload;
use crate::error_chain::chain;
use crate::source::SourceId;
use crate::store::archive::{Staged, UploadStart};
use crate::store::attempt::{Attempt, AttemptStart, Plan, Progress, Saved};
use crate::store::error::{Result, StoreError};

/// After how many bytes of a long part they are made durable: a break costs no more.
const CHECKPOINT_BYTES: u64 = 16 * 1024 * 1024;
/// How often a folder may be taken away under a beginning before it fails.
const MAKE_ATTEMPTS: u32 = 3;

/// An attempt that a request goes on with. Dropped, it stays where it was saved last.
#[derive(Debug)]
pub struct FolderAttempt {
    upload: FolderUpload,
    progress: Progress,
    /// What was written and is not saved.
    fresh_bytes: u64,
}

impl FolderAttempt {
    pub(crate) const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// How long it will be is known now; saved with what comes next.
    pub(crate) async fn announce(&mut self, bytes: u64) -> Result<()> {
        self.upload.keep_room_for(bytes).await?;
        self.progress.saved.announced_bytes = Some(bytes);
        Ok(())
    }

    pub(crate) async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.fresh_bytes += chunk.len() as u64;
        self.upload.write(chunk).await
    }

    pub(crate) async fn catch_up(&mut self) -> Result<()> {
        self.upload.catch_up().await
    }

    pub(crate) async fn checkpoint(&mut self) -> Result<()> {
        if self.fresh_bytes >= CHECKPOINT_BYTES {
            self.commit().await?;
        }
        Ok(())
    }

    pub(crate) async fn commit(&mut self) -> Result<u64> {
        self.save(false).await
    }

    async fn save(&mut self, is_whole: bool) -> Result<u64> {
        let announced_bytes = self.progress.saved.announced_bytes;
        self.upload.commit(announced_bytes, is_whole).await?;
        self.fresh_bytes = 0;
        self.kept_bytes().await
    }

    /// Also by a commit that nobody waited for to its end.
    pub(crate) async fn kept_bytes(&mut self) -> Result<u64> {
        if let Some(saved) = self.upload.saved().await? {
            self.progress.saved = saved.clone();
        }
        Ok(self.progress.saved.offset)
    }

    pub(crate) async fn finish(mut self, is_whole: bool) -> Result<Staged<StagedFile>> {
        // Saved too, so that who did not get the answer learns that this is what was published, or has it published.
        self.save(is_whole).await?;
        self.upload.finish().await
    }

    pub(crate) async fn cancel(self) {
        self.upload.abandon().await;
    }
}

impl FolderStore {
    pub(crate) async fn can_go_on(
        self: &Arc<Self>,
        source: SourceId,
        attempt: Attempt,
    ) -> Result<bool> {
        // What is known is locked by those who ask for room, and so for the disk.
        let is_known = move |store: &Arc<Self>| Ok(store.known_attempt(source) == Some(attempt));
        self.run(Work::Look, is_known).await
    }

    pub(crate) async fn begin_attempt(
        self: &Arc<Self>,
        source: SourceId,
        plan: &Plan,
    ) -> Result<UploadStart<Attempt>> {
        let plan = plan.clone();
        let turn = self.attempt_turns.take(source).await;
        let begin = move |store: &Arc<Self>| store.begin_in_turn(&turn, &plan);
        self.run(Work::Write, begin).await
    }

    fn begin_in_turn(
        self: &Arc<Self>,
        turn: &Turn<SourceId>,
        plan: &Plan,
    ) -> Result<UploadStart<Attempt>> {
        let source = *turn.key();
        if let Some(existing) = self.open_waiting(source)? {
            return Ok(UploadStart::AlreadyUploaded(existing.facts));
        }
        // Before room is looked for, which it may have.
        if let Some(older) = self.known_attempt(source) {
            self.remove_attempt(source, older)?;
        }
        let saved = plan.start();
        let room = self.reserve(room_for(&saved))?;
        let attempt = Attempt::from_bytes(rand::random());
        let made = self.make_attempt(source, attempt, plan, &saved);
        let begun = made.and_then(|()| {
            self.note_attempt(source, attempt, &saved);
            // Again: whoever has published meanwhile forgot what was open before this was noted.
            self.open_waiting(source)
        });
        drop(room);
        let begun = match begun.transpose() {
            None => return Ok(UploadStart::Accepted(attempt)),
            Some(first) => first.map(|first| UploadStart::AlreadyUploaded(first.facts)),
        };
        if let Err(failed) = self.remove_attempt(source, attempt) {
            tracing::error!(error = chain(&failed), "files of a failed beginning stay");
            // Known, they go with the next beginning. Else a later server might take them for the newest.
            self.note_attempt(source, attempt, &Plan::default().start());
        }
        begun
    }

    /// Makes both files, durably. A sweep may remove their folder meanwhile.
    fn make_attempt(
        &self,
        source: SourceId,
        attempt: Attempt,
        plan: &Plan,
        saved: &Saved,
    ) -> Result<()> {
        let state = self.layout.attempt(source, attempt, AttemptFile::State);
        let bytes = self.layout.attempt(source, attempt, AttemptFile::Bytes);
        let content = encode(source, attempt, plan, saved);
        let make = || {
            self.make_attempt_folder(source)?;
            self.create_attempt_file(&bytes)?;
            let file = self.create_attempt_file(&state)?;
            let written = self.faults.write_all(&file, &content);
            written.map_err(|error| StoreError::of_system("write", "write", &state, error))?;
            self.sync_file(&file, &state)?;
            self.sync_folder(&self.layout.attempts_of(Minute::of(source)))
        };
        let mut tried = 1;
        loop {
            match make() {
                Err(error) if error.is_not_found() && tried < MAKE_ATTEMPTS => tried += 1,
                done => return done,
            }
        }
    }

    fn make_attempt_folder(&self, source: SourceId) -> Result<()> {
        let folder = self.layout.attempts_of(Minute::of(source));
        if let Err(error) = self.make_name(&folder) {
            if !error.is_not_found() {
                return Err(error);
            }
            self.make_folders()?;
            self.make_name(&folder)?;
        }
        // Also if it was there: whoever made it may not have synced it yet.
        self.sync_folder(&self.layout.attempts())
    }

    fn create_attempt_file(&self, path: &Path) -> Result<File> {
        let mut options = private_file();
        options.create(true).truncate(true);
        self.call("create", "create", path, || options.open(path))
    }

    /// What is known of an attempt; `None` if there is none, or it was lost.
    pub(crate) async fn find_attempt(
        self: &Arc<Self>,
        source: SourceId,
        attempt: Attempt,
    ) -> Result<Option<Progress>> {
        let turn = self.attempt_turns.take(source).await;
        let find = move |store: &Arc<Self>| {
            let found = store.look_at_attempt(*turn.key(), attempt)?;
            Ok(found.map(|found| found.progress))
        };
        self.run(Work::Look, find).await
    }

    /// Waits until nobody else works on it.
    pub(crate) async fn open_attempt(
        self: &Arc<Self>,
        source: SourceId,
        attempt: Attempt,
    ) -> Result<AttemptStart<FolderAttempt>> {
        let turn = self.attempt_turns.take(source).await;
        let open = move |store: &Arc<Self>| store.open_in_turn(turn, attempt);
        self.run(Work::Write, open).await
    }

    fn open_in_turn(
        self: &Arc<Self>,
        turn: Turn<SourceId>,
        attempt: Attempt,
    ) -> Result<AttemptStart<FolderAttempt>> {
        let source = *turn.key();
        let Some(found) = self.look_at_attempt(source, attempt)? else {
            return Ok(AttemptStart::Unknown);
        };
        let progress = found.progress;
        if progress.first.is_some() {
            return Ok(AttemptStart::Ended(Box::new(progress)));
        }
        let path = self.layout.attempt(source, attempt, AttemptFile::Bytes);
        let Some(summary) = progress.saved.summary() else {
            return Ok(AttemptStart::Unknown);
        };
        let file = self.open_bytes(&path, progress.saved.offset)?;
        let room = self.take_room(source, attempt);
        let hold = Hold {
            store: Arc::clone(self),
            turn,
            attempt,
            state: found.file,
            state_path: found.path,
            slot: found.slot,
            saved: progress.saved.clone(),
            leaving: Leaving::Stays,
        };
        let stage = StageFile::going_on(self, file, path, progress.saved.offset, hold);
        Ok(AttemptStart::GoesOn(FolderAttempt {
            upload: FolderUpload::going_on(self, source, stage, room, summary),
            progress,
            fresh_bytes: 0,
        }))
    }

    /// Opens the bytes of an attempt, which are there, behind those that are saved.
    fn open_bytes(&self, path: &Path, offset: u64) -> Result<File> {
        let mut file = self.call("open", "open", path, || private_file().open(path))?;
        let found = self.call("fstat", "inspect", path, || file.metadata())?;
        if found.len() > offset {
            self.call("truncate", "truncate", path, || file.set_len(offset))?;
        }
        let seek = || file.seek(SeekFrom::Start(offset));
        self.call("seek", "read", path, seek)?;
        Ok(file)
    }

    /// Are so many bytes of an attempt there?
    fn has_bytes(&self, path: &Path, offset: u64) -> Result<bool> {
        match self.call("stat", "inspect", path, || fs::metadata(path)) {
            Err(error) if error.is_not_found() => Ok(false),
            // Nothing is ever written to an archive, and with a second name this would be one.
            found => found.map(|found| found.len() >= offset && found.nlink() == 1),
        }
    }

    /// Ends an attempt for good; says whether there was one, unless it is the archive.
    pub(crate) async fn cancel_attempt(
        self: &Arc<Self>,
        source: SourceId,
        attempt: Attempt,
    ) -> Result<Option<Progress>> {
        let turn = self.attempt_turns.take(source).await;
        let cancel = move |store: &Arc<Self>| {
            let source = *turn.key();
            let Some(found) = store.look_at_attempt(source, attempt)? else {
                return Ok(None);
            };
            if found.progress.first.is_none() {
                store.remove_attempt(source, attempt)?;
                store.sync_folder(&store.layout.attempts_of(Minute::of(source)))?;
            }
            Ok(Some(found.progress))
        };
        self.run(Work::Look, cancel).await
    }

    /// What the state of an attempt says, and whether the source has its archive. If it has none, and bytes are missing that
    /// the state tells of, there is no such attempt any more.
    fn look_at_attempt(
        self: &Arc<Self>,
        source: SourceId,
        attempt: Attempt,
    ) -> Result<Option<FoundState>> {
        let Some(mut found) = self.read_state(source, attempt)? else {
            // Nobody goes on with it: no room is kept for that. In a store that is away, nothing is missing.
            self.check_there()?;
            if self.known_attempt(source) == Some(attempt) {
                self.remove_attempt(source, attempt)?;
            }
            return Ok(None);
        };
        let first = self.open_waiting(source)?;
        found.progress.first = first.map(|first| first.facts);
        let path = self.layout.attempt(source, attempt, AttemptFile::Bytes);
        let progress = &found.progress;
        if progress.first.is_none() && !self.has_bytes(&path, progress.saved.offset)? {
            tracing::error!(path = %path.display(), "an upload in parts is lost: bytes of it are missing");
            self.remove_attempt(source, attempt)?;
            return Ok(None);
        }
        Ok(Some(found))
    }
}
