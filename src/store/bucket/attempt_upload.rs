//! Appending to an upload in parts: one part fills while the one before it is put, and only what follows the last one that
//! is durable is ever put.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt as _, PutMode, PutPayload};
use tokio::task::JoinHandle;

use super::attempt_state::FoundAttempt;
use super::beginning::{Beginning, Finish, FoundBeginning, Standing};
use super::errors::failed;
use super::filling::{Filling, PIECE_BYTES};
use super::keys::Attempt;
use super::parts::Parts;
use super::plan::LONGEST;
use super::publish::StagedParts;
use super::record::MAX_RUNS;
use super::shared::BucketStore;
use crate::source::SourceId;
use crate::store::archive::{Staged, Summary};
use crate::store::attempt::{Progress, SAVED_BYTES, Saved, context};
use crate::store::error::{Result, StoreError, settle};

/// How often a part is tried to be created while the object store says that others do.
const CREATE_ATTEMPTS: u32 = 3;

/// An attempt that a request goes on with. Dropped, it stays where its last part ends.
#[derive(Debug)]
pub struct BucketAttempt {
    parts: Parts,
    progress: Progress,
    beginning: FoundBeginning,
    /// Of the bytes in the parts, and in the one that fills.
    summary: Summary,
    filling: Filling,
    running: Option<Running>,
    /// A length that is known and not saved.
    is_length_new: bool,
}

/// A part that is being put.
#[derive(Debug)]
struct Running {
    length: u64,
    saved: Saved,
    task: JoinHandle<Result<()>>,
}

impl BucketAttempt {
    pub(super) fn going_on(found: FoundAttempt) -> Option<Self> {
        Some(Self {
            summary: found.progress.saved.summary()?,
            parts: found.parts,
            progress: found.progress,
            beginning: found.beginning,
            filling: Filling::with_room_for(PIECE_BYTES),
            running: None,
            is_length_new: false,
        })
    }

    pub(crate) const fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(crate) const fn announce(&mut self, bytes: u64) {
        self.progress.saved.announced_bytes = Some(bytes);
        self.is_length_new = true;
    }

    pub(crate) async fn write(&mut self, mut chunk: Bytes) -> Result<()> {
        while !chunk.is_empty() {
            if self.filling.is_full() && !self.grow() {
                self.put_part(false).await?;
            }
            let all = chunk.clone();
            self.filling.take(&mut chunk);
            let taken = all.slice(..all.len() - chunk.len());
            self.summary.take(&[taken]);
        }
        Ok(())
    }

    /// Makes room in the part that fills, if it is not long enough, and there is memory for it.
    fn grow(&mut self) -> bool {
        let memory = Arc::clone(&self.parts.store.upload_memory);
        let may_grow = self.filling.pieces() < LONGEST && !self.filling.is_slow();
        may_grow && self.filling.grow(&memory)
    }

    /// Starts to put the part that has filled, once the one before it is durable. Giving up waiting for that loses
    /// nothing: the part is taken where nothing waits any more.
    async fn put_part(&mut self, is_whole: bool) -> Result<()> {
        self.settle().await?;
        let slots = Arc::clone(&self.parts.store.upload_slots);
        let slot = slots.acquire_owned().await;
        let slot = slot.expect("this semaphore is never closed");
        let length = self.filling.len() as u64;
        if self.parts.runs_with(length) > MAX_RUNS {
            return Err(StoreError::TooManyParts { limit: MAX_RUNS });
        }
        let filled = mem::replace(&mut self.filling, Filling::with_room_for(0));
        let (mut pieces, memory) = filled.into_parts();
        let saved = Saved::of(&self.summary, self.progress.saved.announced_bytes, is_whole);
        self.is_length_new = false;
        let (source, attempt) = (self.parts.source, self.parts.attempt);
        let end = Bytes::from(saved.encode(&context(source, attempt)));
        pieces.push(end);
        let (store, key) = (Arc::clone(&self.parts.store), self.parts.next_key());
        let expected = saved.clone();
        let task = tokio::spawn(async move {
            let payload = pieces.into_iter().collect();
            let created = store.create_part((source, attempt), &key, payload, &expected);
            let created = created.await;
            drop((slot, memory));
            created
        });
        self.running = Some(Running {
            length,
            saved,
            task,
        });
        self.filling = Filling::with_room_for(PIECE_BYTES);
        Ok(())
    }

    /// Waits until the part that is being put is durable, if there is one.
    async fn settle(&mut self) -> Result<()> {
        if let Some(running) = &mut self.running {
            let done = settle((&mut running.task).await);
            let running = self.running.take();
            done?;
            if let Some(Running { length, saved, .. }) = running {
                self.parts.note(length);
                self.progress.saved = saved;
            }
        }
        Ok(())
    }

    pub(crate) async fn commit(&mut self) -> Result<u64> {
        self.put_rest(false).await?;
        if self.is_length_new {
            let mut noted = self.beginning.content.clone();
            noted.plan.announced_bytes = self.progress.saved.announced_bytes;
            self.note(noted).await?;
            self.is_length_new = false;
        }
        Ok(self.progress.saved.offset)
    }

    /// Replaces what it was begun with, unless somebody else has.
    async fn note(&mut self, content: Beginning) -> Result<()> {
        let version = self.beginning.version.clone();
        let store = &self.parts.store;
        let written = store.write_beginning(self.parts.source, &content, Some(version));
        let version = written.await?.ok_or(StoreError::Superseded)?;
        self.beginning = FoundBeginning { content, version };
        Ok(())
    }

    /// Has the parts left alone by whoever replaces this attempt from now on. What another has noted before stays true.
    async fn note_end(&mut self) -> Result<()> {
        let finish = Finish::from_bytes(rand::random());
        let before = self.beginning.content.clone();
        let is_first = before.standing == Standing::Open;
        self.note(Beginning {
            standing: Standing::Ending(finish),
            ..before
        })
        .await?;
        self.parts.finish = is_first.then_some(finish);
        Ok(())
    }

    pub(crate) async fn kept_bytes(&mut self) -> Result<u64> {
        self.settle().await?;
        Ok(self.progress.saved.offset)
    }

    async fn put_rest(&mut self, is_whole: bool) -> Result<()> {
        if self.filling.len() > 0 {
            self.put_part(is_whole).await?;
        }
        self.settle().await
    }

    pub(crate) async fn finish(mut self, is_whole: bool) -> Result<Staged<StagedParts>> {
        self.put_rest(is_whole).await?;
        self.note_end().await?;
        let staged = StagedParts {
            parts: self.parts,
            rest: Vec::new(),
            first: None,
        };
        Ok(self.summary.into_staged(staged))
    }

    pub(crate) async fn cancel(mut self) {
        // What is being put must not arrive after its deletion.
        let _ = self.settle().await;
        self.parts.abandon().await;
    }
}

impl BucketStore {
    /// Creates a part where none is. If one is there that says the same, it is this very one, or has the same bytes.
    async fn create_part(
        &self,
        (source, attempt): (SourceId, Attempt),
        key: &Path,
        content: PutPayload,
        expected: &Saved,
    ) -> Result<()> {
        for _ in 0..CREATE_ATTEMPTS {
            let put = self.put_if(PutMode::Create, key, content.clone());
            match put.await {
                Ok(_) => return Ok(()),
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
                Err(error) => return Err(failed("put a part")(error)),
            }
            let found = match self.objects().head(key).await {
                Ok(found) => found.size,
                // Object stores also say so when two create at once, and neither has yet.
                Err(Error::NotFound { .. }) => continue,
                Err(error) => return Err(failed("look at a part")(error)),
            };
            let length = found.saturating_sub(SAVED_BYTES as u64);
            let found = self.read_saved(source, attempt, key, length).await?;
            return if found.as_ref() == Some(expected) {
                Ok(())
            } else {
                Err(StoreError::Superseded)
            };
        }
        Err(StoreError::Contended)
    }
}
