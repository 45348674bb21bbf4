//! Taking an upload's bytes in: a batch is written by one thread that may block and digested by another,
//! while the next ones arrive.
//!
//! ```text
//!                                        ┌──> file
//! write ──> waiting ──(a batch at a time)┤
//!              │                         └──> digests
//!              │ more than MAX_WAITING_BYTES: write() waits, and so does the client
//! ```

use std::mem;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::footer::FOOTER_BYTES;
use super::hold::Leaving;
use super::publish::StagedFile;
use super::room::Reservation;
use super::shared::FolderStore;
use super::stage::StageFile;
use super::threads::{Thread, Work};
use crate::digest::Digester;
use crate::source::SourceId;
use crate::store::archive::{Staged, Summary, UploadStart};
use crate::store::attempt::Saved;
use crate::store::error::{Result, StoreError, settle};

/// How many bytes may wait while a batch is being taken in.
const MAX_WAITING_BYTES: usize = 512 * 1024;
/// Up to so many bytes are digested where they are written: to hand them to another thread would take as long.
const SMALL_BATCH_BYTES: usize = 64 * 1024;

/// A chunk that is smaller is copied: kept as it came it would hold on to more memory than it has bytes, as one of
/// a single byte does to that of its place in a list, and to the buffer that it is a piece of.
const CRUMB_BYTES: usize = 4 * 1024;

#[derive(Debug)]
pub struct FolderUpload {
    store: Arc<FolderStore>,
    source: SourceId,
    waiting: Vec<Bytes>,
    /// The last of what waits: chunks that are too small to be kept one by one.
    waiting_crumbs: BytesMut,
    waiting_bytes: usize,
    /// What has been made of the bytes so far, unless a batch is being taken in.
    draft: Option<Box<Draft>>,
    running: Option<JoinHandle<Result<Box<Draft>>>>,
}

/// The file, the room that is kept for it, and what is known of its bytes.
#[derive(Debug)]
struct Draft {
    stage: StageFile,
    room: Reservation,
    summary: Summary,
}

impl Draft {
    fn take_batch(mut self: Box<Self>, batch: Vec<Bytes>) -> Result<Box<Self>> {
        let batch_bytes = batch.iter().map(Bytes::len).sum::<usize>();
        if batch_bytes <= SMALL_BATCH_BYTES {
            self.write(&batch, batch_bytes)?;
            self.summary.take(&batch);
            return Ok(self);
        }
        let batch: Arc<[Bytes]> = batch.into();
        let (mut summary, to_digest) = (mem::take(&mut self.summary), Arc::clone(&batch));
        let digesting = spawn_blocking(move || {
            summary.take(&to_digest);
            Ok(summary)
        });
        self.write(&batch, batch_bytes)?;
        self.summary = settle(Handle::current().block_on(digesting))?;
        Ok(self)
    }

    /// Makes all that was taken in durable, as that of an attempt.
    fn save(
        mut self: Box<Self>,
        announced_bytes: Option<u64>,
        is_whole: bool,
    ) -> Result<Box<Self>> {
        let saved = Saved::of(&self.summary, announced_bytes, is_whole);
        self.stage.save(saved)?;
        Ok(self)
    }

    fn write(&mut self, batch: &[Bytes], batch_bytes: usize) -> Result<()> {
        self.room.cover(batch_bytes as u64)?;
        batch.iter().try_for_each(|chunk| self.stage.write(chunk))?;
        self.room.spend(batch_bytes as u64);
        self.stage.begin_sync();
        Ok(())
    }
}

impl FolderStore {
    pub(crate) async fn begin_upload(
        self: &Arc<Self>,
        source: SourceId,
        announced_bytes: Option<u64>,
        digester: Digester,
    ) -> Result<UploadStart<FolderUpload>> {
        let begin = move |store: &Arc<Self>| {
            if let Some(existing) = store.open_waiting(source)? {
                return Ok(UploadStart::AlreadyUploaded(existing.facts));
            }
            let announced_bytes = announced_bytes.unwrap_or(0);
            let room = store.reserve(announced_bytes.saturating_add(FOOTER_BYTES as u64))?;
            let stage = StageFile::create(store, &store.layout.stage())?;
            let summary = Summary::new(digester);
            let upload = FolderUpload::going_on(store, source, stage, room, summary);
            Ok(UploadStart::Accepted(upload))
        };
        self.run(Work::Write, begin).await
    }
}

impl FolderUpload {
    /// One whose file has what `summary` tells of already.
    pub(super) fn going_on(
        store: &Arc<FolderStore>,
        source: SourceId,
        stage: StageFile,
        room: Reservation,
        summary: Summary,
    ) -> Self {
        let draft = Draft {
            stage,
            room,
            summary,
        };
        Self {
            store: Arc::clone(store),
            source,
            waiting: Vec::new(),
            waiting_crumbs: BytesMut::new(),
            waiting_bytes: 0,
            draft: Some(Box::new(draft)),
            running: None,
        }
    }

    /// Makes all that was written durable, as that of an attempt. Giving up waiting for that loses nothing.
    pub(super) async fn commit(
        &mut self,
        announced_bytes: Option<u64>,
        is_whole: bool,
    ) -> Result<()> {
        self.catch_up().await?;
        self.start(move |draft| draft.save(announced_bytes, is_whole))
            .await?;
        self.join().await
    }

    /// Keeps room for what is still to come, if all of it has so many bytes.
    pub(super) async fn keep_room_for(&mut self, bytes: u64) -> Result<()> {
        self.join().await?;
        let draft = self.draft.as_ref().ok_or(StoreError::Ending)?;
        let come_bytes = draft.summary.size_bytes() + self.waiting_bytes as u64;
        let rest_bytes = match bytes.saturating_sub(come_bytes) {
            0 => return Ok(()),
            rest_bytes => rest_bytes.saturating_add(FOOTER_BYTES as u64),
        };
        let missing_bytes = rest_bytes.saturating_sub(draft.room.bytes());
        let reserve = move |store: &Arc<FolderStore>| store.reserve(missing_bytes);
        let more = self.store.run(Work::Write, reserve).await?;
        if let Some(draft) = &mut self.draft {
            draft.room.add(more);
        }
        Ok(())
    }

    /// How far its attempt is, durably, once nothing is under way any more; `None` if that failed.
    pub(super) async fn saved(&mut self) -> Result<Option<&Saved>> {
        self.join().await?;
        let draft = self.draft.as_ref();
        Ok(draft.and_then(|draft| draft.stage.saved()))
    }

    pub(crate) async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.waiting_bytes += chunk.len();
        if chunk.len() < CRUMB_BYTES {
            self.waiting_crumbs.extend_from_slice(&chunk);
        } else {
            self.gather_crumbs();
            self.waiting.push(chunk);
        }
        let running = self.running.as_ref();
        if running.is_some_and(|work| !work.is_finished()) && self.waiting_bytes < MAX_WAITING_BYTES
        {
            return Ok(());
        }
        self.start_batch().await
    }

    fn gather_crumbs(&mut self) {
        if !self.waiting_crumbs.is_empty() {
            self.waiting.push(self.waiting_crumbs.split().freeze());
        }
    }

    pub(crate) async fn catch_up(&mut self) -> Result<()> {
        if self.waiting_bytes == 0 {
            return Ok(());
        }
        self.start_batch().await
    }

    pub(crate) async fn finish(mut self) -> Result<Staged<StagedFile>> {
        self.catch_up().await?;
        self.join().await?;
        let draft = self.take_draft()?;
        Ok(draft.summary.into_staged(StagedFile {
            store: Arc::clone(&self.store),
            source: self.source,
            stage: draft.stage,
            _room: draft.room,
        }))
    }

    pub(crate) async fn abandon(mut self) {
        // A write that failed has removed the file already.
        if self.join().await.is_ok()
            && let Some(mut draft) = self.draft.take()
        {
            draft.stage.leave(Leaving::Cancelled);
            self.store.drop_waiting(draft).await;
        }
    }

    /// Waits for the batch that is being taken in, if there is one. Giving up waiting loses nothing.
    async fn join(&mut self) -> Result<()> {
        if let Some(work) = &mut self.running {
            let done = settle(work.await);
            self.running = None;
            self.draft = Some(done?);
        }
        Ok(())
    }

    fn take_draft(&mut self) -> Result<Box<Draft>> {
        // A write that failed has left none.
        self.draft.take().ok_or(StoreError::Ending)
    }

    /// Has what waits taken in, once what came before it is. Giving up waiting for that loses nothing.
    async fn start_batch(&mut self) -> Result<()> {
        let thread = self.reserve().await?;
        let draft = self.take_draft()?;
        self.gather_crumbs();
        let batch = mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        self.running = Some(thread.start(move || draft.take_batch(batch)));
        Ok(())
    }

    /// Has something done with the draft where that may block, once what came before it is.
    async fn start(
        &mut self,
        work: impl FnOnce(Box<Draft>) -> Result<Box<Draft>> + Send + 'static,
    ) -> Result<()> {
        let thread = self.reserve().await?;
        let draft = self.take_draft()?;
        self.running = Some(thread.start(move || work(draft)));
        Ok(())
    }

    /// Waits for a thread. Only then the draft may be taken: where it is taken nothing may wait, or it would be lost with
    /// whoever waits.
    async fn reserve(&mut self) -> Result<Thread> {
        self.join().await?;
        Ok(self.store.threads.reserve(Work::Write).await)
    }
}

impl Drop for FolderUpload {
    /// An upload whose client went away is dropped wherever it was; its file is removed where that
    /// may block. A batch being written removes it when it ends.
    fn drop(&mut self) {
        if let Some(draft) = self.draft.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let store = Arc::clone(&self.store);
            runtime.spawn(async move { store.drop_waiting(draft).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::clock::Timestamp;
    use crate::digest::ExpectedDigests;
    use crate::store::folder::Sync;

    #[tokio::test]
    async fn chunks_of_one_byte_that_wait_take_no_more_memory_than_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::open(folder.path().join("store"), Sync::Off, 0).unwrap();
        let source = SourceId::mint(Timestamp::from_ms(1_700_000_000_000), [1; 10]);
        let digester = Digester::expecting(&ExpectedDigests::default());
        let begun = store.begin_upload(source, None, digester).await.unwrap();
        let UploadStart::Accepted(mut upload) = begun else {
            panic!("it is a new source");
        };
        // A disk that does not take the batch before.
        upload.running = Some(tokio::spawn(pending()));
        let buffer = Bytes::from(vec![0; 64 * 1024]);
        for at in 0..buffer.len() {
            upload.write(buffer.slice(at..=at)).await.unwrap();
        }
        assert_eq!(upload.waiting.len(), 0);
        assert!(upload.waiting_crumbs.capacity() <= 2 * buffer.len());
        upload.running = None;
    }
}
