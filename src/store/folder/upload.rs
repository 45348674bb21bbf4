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

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::footer::FOOTER_BYTES;
use super::publish::StagedFile;
use super::room::Reservation;
use super::shared::FolderStore;
use super::stage::StageFile;
use super::threads::Work;
use crate::digest::Digester;
use crate::media::{MAGIC_BYTES, MediaType};
use crate::source::SourceId;
use crate::store::archive::{Staged, UploadStart};
use crate::store::error::{Result, StoreError, settle};

/// How many bytes may wait while a batch is being taken in.
const MAX_WAITING_BYTES: usize = 512 * 1024;
/// Up to so many bytes are digested where they are written: to hand them to another thread would take as long.
const SMALL_BATCH_BYTES: usize = 64 * 1024;

/// An upload to a folder under way.
#[derive(Debug)]
pub struct FolderUpload {
    store: Arc<FolderStore>,
    source: SourceId,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    size_bytes: u64,
    work: Job,
}

/// What has been made of the bytes so far is here, or with the thread that takes a batch in.
#[derive(Debug)]
enum Job {
    Idle(Box<Draft>),
    Running(JoinHandle<Result<Box<Draft>>>),
    Failed,
}

impl Job {
    /// Waits for the thread, if there is one. Giving up waiting loses nothing.
    async fn join(&mut self) -> Result<()> {
        if let Self::Running(work) = self {
            let done = settle(work.await);
            *self = Self::Failed;
            *self = Self::Idle(done?);
        }
        Ok(())
    }

    /// What has been made, once it has been joined.
    fn take(&mut self) -> Result<Box<Draft>> {
        match mem::replace(self, Self::Failed) {
            Self::Idle(made) => Ok(made),
            Self::Running(_) | Self::Failed => Err(StoreError::Ending),
        }
    }
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
            self.summary.take_batch(&batch);
            return Ok(self);
        }
        let batch: Arc<[Bytes]> = batch.into();
        let (mut summary, to_digest) = (mem::take(&mut self.summary), Arc::clone(&batch));
        let digesting = spawn_blocking(move || {
            summary.take_batch(&to_digest);
            Ok(summary)
        });
        self.write(&batch, batch_bytes)?;
        self.summary = settle(Handle::current().block_on(digesting))?;
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

/// What is known of the bytes.
#[derive(Debug, Default)]
struct Summary {
    digester: Digester,
    head: Vec<u8>,
}

impl Summary {
    fn take_batch(&mut self, batch: &[Bytes]) {
        for chunk in batch {
            self.digester.update(chunk);
            let missing = MAGIC_BYTES - self.head.len();
            self.head.extend(chunk.iter().take(missing));
        }
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
            let summary = Summary {
                digester,
                head: Vec::with_capacity(MAGIC_BYTES),
            };
            let draft = Draft {
                stage,
                room,
                summary,
            };
            Ok(UploadStart::Accepted(FolderUpload {
                store: Arc::clone(store),
                source,
                waiting: Vec::new(),
                waiting_bytes: 0,
                size_bytes: 0,
                work: Job::Idle(Box::new(draft)),
            }))
        };
        self.run(Work::Write, begin).await
    }
}

impl FolderUpload {
    pub(crate) async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.size_bytes += chunk.len() as u64;
        self.waiting_bytes += chunk.len();
        self.waiting.push(chunk);
        let is_busy = matches!(&self.work, Job::Running(work) if !work.is_finished());
        if is_busy && self.waiting_bytes < MAX_WAITING_BYTES {
            return Ok(());
        }
        self.start_batch().await
    }

    pub(crate) async fn catch_up(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.start_batch().await
    }

    pub(crate) async fn finish(mut self) -> Result<Staged<StagedFile>> {
        self.catch_up().await?;
        self.work.join().await?;
        let draft = self.work.take()?;
        Ok(Staged {
            size_bytes: self.size_bytes,
            digests: draft.summary.digester.finish(),
            media_type: MediaType::of(&draft.summary.head),
            place: StagedFile {
                store: Arc::clone(&self.store),
                source: self.source,
                stage: draft.stage,
                _room: draft.room,
            },
        })
    }

    pub(crate) async fn abandon(mut self) {
        // A write that failed has removed the file already.
        if self.work.join().await.is_ok()
            && let Ok(draft) = self.work.take()
        {
            self.store.drop_waiting(draft).await;
        }
    }

    /// Has what waits taken in, once what came before it is. Giving up waiting for that loses nothing.
    async fn start_batch(&mut self) -> Result<()> {
        self.work.join().await?;
        let thread = self.store.threads.reserve(Work::Write).await;
        let draft = self.work.take()?;
        let batch = mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        self.work = Job::Running(thread.start(move || draft.take_batch(batch)));
        Ok(())
    }
}

impl Drop for FolderUpload {
    /// An upload whose client went away is dropped wherever it was; its file is removed where that
    /// may block. A batch being written removes it when it ends.
    fn drop(&mut self) {
        if let Ok(draft) = self.work.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let store = Arc::clone(&self.store);
            runtime.spawn(async move { store.drop_waiting(draft).await });
        }
    }
}
