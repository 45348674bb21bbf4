//! Taking an upload's bytes in: written by one thread that may block and digested by another, while the
//! next ones arrive.
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
use super::shared::Shared;
use super::stage::StageFile;
use super::threads::{Work, settle};
use crate::digest::Digester;
use crate::media::{MAGIC_BYTES, MediaType};
use crate::source::SourceId;
use crate::store::archive::Staged;
use crate::store::error::StoreError;

/// How many bytes may wait while a batch is being taken in.
const MAX_WAITING_BYTES: usize = 512 * 1024;
/// Up to so many bytes are digested at once: to hand them to another thread would take as long.
const SMALL_BATCH_BYTES: usize = 64 * 1024;

/// An upload to a folder under way.
#[derive(Debug)]
pub struct FolderUpload {
    shared: Arc<Shared>,
    source: SourceId,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    size_bytes: u64,
    file: Job<Writer>,
    summary: Job<Box<Summary>>,
}

/// One half of the work: what it has made so far is here, or with the thread that goes on with it.
#[derive(Debug)]
enum Job<T> {
    Idle(T),
    Running(JoinHandle<Result<T, StoreError>>),
    Failed,
}

impl<T: Send + 'static> Job<T> {
    /// Waits for the thread, if there is one. Giving up waiting loses nothing.
    async fn join(&mut self) -> Result<(), StoreError> {
        if let Self::Running(work) = self {
            let done = settle(work.await);
            *self = Self::Failed;
            *self = Self::Idle(done?);
        }
        Ok(())
    }

    /// What has been made, once it has been joined.
    fn take(&mut self) -> Result<T, StoreError> {
        match mem::replace(self, Self::Failed) {
            Self::Idle(made) => Ok(made),
            Self::Running(_) | Self::Failed => Err(StoreError::Ending),
        }
    }

    fn is_busy(&self) -> bool {
        matches!(self, Self::Running(work) if !work.is_finished())
    }
}

/// The file, and the room that is kept for it.
#[derive(Debug)]
struct Writer {
    stage: StageFile,
    room: Reservation,
}

impl Writer {
    fn take_batch(&mut self, batch: &[Bytes]) -> Result<(), StoreError> {
        let batch_bytes = batch.iter().map(Bytes::len).sum::<usize>() as u64;
        self.room.cover(batch_bytes)?;
        batch.iter().try_for_each(|chunk| self.stage.write(chunk))?;
        self.room.spend(batch_bytes);
        self.stage.begin_sync();
        Ok(())
    }
}

/// What is known of the bytes.
#[derive(Debug)]
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

impl FolderUpload {
    /// Begins one that may have announced its length.
    pub(super) fn begin(
        shared: &Arc<Shared>,
        source: SourceId,
        announced_bytes: Option<u64>,
        digester: Digester,
    ) -> Result<Self, StoreError> {
        let announced_bytes = announced_bytes.unwrap_or(0);
        let room = shared
            .room
            .reserve(announced_bytes.saturating_add(FOOTER_BYTES as u64))?;
        let stage = StageFile::create(shared, &shared.layout.stage())?;
        let summary = Summary {
            digester,
            head: Vec::with_capacity(MAGIC_BYTES),
        };
        Ok(Self {
            shared: Arc::clone(shared),
            source,
            waiting: Vec::new(),
            waiting_bytes: 0,
            size_bytes: 0,
            file: Job::Idle(Writer { stage, room }),
            summary: Job::Idle(Box::new(summary)),
        })
    }

    pub(in crate::store) async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        self.size_bytes += chunk.len() as u64;
        self.waiting_bytes += chunk.len();
        self.waiting.push(chunk);
        let is_busy = self.file.is_busy() || self.summary.is_busy();
        if is_busy && self.waiting_bytes < MAX_WAITING_BYTES {
            return Ok(());
        }
        self.start_batch().await
    }

    pub(in crate::store) async fn catch_up(&mut self) -> Result<(), StoreError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.start_batch().await
    }

    pub(in crate::store) async fn finish(mut self) -> Result<Staged<StagedFile>, StoreError> {
        self.catch_up().await?;
        self.join().await?;
        let summary = self.summary.take()?;
        let Writer { stage, room } = self.file.take()?;
        let staged = StagedFile::new(Arc::clone(&self.shared), self.source, stage, room);
        Ok(Staged {
            size_bytes: self.size_bytes,
            digests: summary.digester.finish(),
            media_type: MediaType::of(&summary.head),
            place: staged,
        })
    }

    pub(in crate::store) async fn abandon(mut self) {
        // A write that failed has removed the file already.
        if self.file.join().await.is_ok()
            && let Ok(writer) = self.file.take()
        {
            remove(&self.shared, writer).await;
        }
    }

    async fn join(&mut self) -> Result<(), StoreError> {
        self.file.join().await?;
        self.summary.join().await
    }

    /// Has what waits taken in, once what came before it is. Giving up waiting for that loses nothing.
    async fn start_batch(&mut self) -> Result<(), StoreError> {
        self.join().await?;
        let thread = self.shared.threads.reserve(Work::Write).await;
        let (mut writer, mut summary) = (self.file.take()?, self.summary.take()?);
        let batch: Arc<[Bytes]> = mem::take(&mut self.waiting).into();
        let batch_bytes = mem::take(&mut self.waiting_bytes);

        let to_write = Arc::clone(&batch);
        self.file = Job::Running(thread.start(move || {
            writer.take_batch(&to_write)?;
            Ok(writer)
        }));
        self.summary = if batch_bytes <= SMALL_BATCH_BYTES {
            summary.take_batch(&batch);
            Job::Idle(summary)
        } else {
            Job::Running(spawn_blocking(move || {
                summary.take_batch(&batch);
                Ok(summary)
            }))
        };
        Ok(())
    }
}

impl Drop for FolderUpload {
    /// An upload whose client went away is dropped wherever it was; its file is removed where that
    /// may block. A batch being written removes it when it ends.
    fn drop(&mut self) {
        if let Ok(writer) = self.file.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let shared = Arc::clone(&self.shared);
            runtime.spawn(async move { remove(&shared, writer).await });
        }
    }
}

/// Removes a staged file where that may block.
async fn remove(shared: &Shared, writer: Writer) {
    let removal = move || {
        drop(writer);
        Ok(())
    };
    // Only the server's end can keep it from running, and that drops the file as well.
    let _ = shared.threads.run(Work::Write, removal).await;
}
