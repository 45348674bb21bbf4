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
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};

use super::publish::StagedFile;
use super::stage::StageFile;
use super::{Shared, run_blocking, settle};
use crate::digest::Digester;
use crate::media::{MAGIC_BYTES, MediaType};
use crate::source::SourceId;
use crate::store::{Staged, StagedPlace, StoreError};

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
    file: Lane<StageFile>,
    summary: Lane<Box<Summary>>,
}

/// One half of the work: what it has made so far, here or lent to the thread that goes on with it.
#[derive(Debug)]
enum Lane<T> {
    Here(T),
    Lent(JoinHandle<Result<T, StoreError>>),
    /// It failed, or is over.
    Gone,
}

impl<T: Send + 'static> Lane<T> {
    /// Waits for the work that is under way, if there is some. Giving up waiting loses nothing.
    async fn come_back(&mut self) -> Result<(), StoreError> {
        if let Self::Lent(work) = self {
            let done = settle(work.await);
            *self = Self::Gone;
            *self = Self::Here(done?);
        }
        Ok(())
    }

    /// What has been made, once it has come back.
    fn take(&mut self) -> Result<T, StoreError> {
        match mem::replace(self, Self::Gone) {
            Self::Here(made) => Ok(made),
            Self::Lent(_) | Self::Gone => Err(StoreError::Ending),
        }
    }

    fn is_busy(&self) -> bool {
        matches!(self, Self::Lent(work) if !work.is_finished())
    }
}

impl StageFile {
    fn take_batch(&mut self, shared: &Shared, batch: &[Bytes]) -> Result<(), StoreError> {
        let batch_bytes = batch.iter().map(Bytes::len).sum::<usize>() as u64;
        shared
            .writing_bytes
            .fetch_add(batch_bytes, Ordering::Relaxed);
        let written = shared
            .check_room(0)
            .and_then(|()| batch.iter().try_for_each(|chunk| self.write(chunk)));
        shared
            .writing_bytes
            .fetch_sub(batch_bytes, Ordering::Relaxed);
        self.begin_sync();
        written
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
    pub(super) fn new(
        shared: Arc<Shared>,
        source: SourceId,
        stage: StageFile,
        digester: Digester,
    ) -> Self {
        let summary = Summary {
            digester,
            head: Vec::with_capacity(MAGIC_BYTES),
        };
        Self {
            shared,
            source,
            waiting: Vec::new(),
            waiting_bytes: 0,
            size_bytes: 0,
            file: Lane::Here(stage),
            summary: Lane::Here(Box::new(summary)),
        }
    }

    pub(in crate::store) async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        self.size_bytes += chunk.len() as u64;
        self.waiting_bytes += chunk.len();
        self.waiting.push(chunk);
        let is_busy = self.file.is_busy() || self.summary.is_busy();
        if is_busy && self.waiting_bytes < MAX_WAITING_BYTES {
            return Ok(());
        }
        self.come_back().await?;
        self.start_batch()
    }

    pub(in crate::store) async fn catch_up(&mut self) -> Result<(), StoreError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.come_back().await?;
        self.start_batch()
    }

    pub(in crate::store) async fn finish(mut self) -> Result<Staged, StoreError> {
        self.catch_up().await?;
        self.come_back().await?;
        let summary = self.summary.take()?;
        let staged = StagedFile::new(Arc::clone(&self.shared), self.source, self.file.take()?);
        Ok(Staged {
            size_bytes: self.size_bytes,
            digests: summary.digester.finish(),
            media_type: MediaType::of(&summary.head),
            place: StagedPlace::Folder(staged),
        })
    }

    pub(in crate::store) async fn abandon(mut self) {
        // A write that failed has removed the file already.
        if self.file.come_back().await.is_ok()
            && let Ok(stage) = self.file.take()
        {
            drop_blocking(stage).await;
        }
    }

    async fn come_back(&mut self) -> Result<(), StoreError> {
        self.file.come_back().await?;
        self.summary.come_back().await
    }

    fn start_batch(&mut self) -> Result<(), StoreError> {
        let (mut stage, mut summary) = (self.file.take()?, self.summary.take()?);
        let batch: Arc<[Bytes]> = mem::take(&mut self.waiting).into();
        let batch_bytes = mem::take(&mut self.waiting_bytes);

        let (shared, to_write) = (Arc::clone(&self.shared), Arc::clone(&batch));
        self.file = Lane::Lent(spawn_blocking(move || {
            stage.take_batch(&shared, &to_write)?;
            Ok(stage)
        }));
        self.summary = if batch_bytes <= SMALL_BATCH_BYTES {
            summary.take_batch(&batch);
            Lane::Here(summary)
        } else {
            Lane::Lent(spawn_blocking(move || {
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
        if let Ok(stage) = self.file.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(stage));
        }
    }
}

/// Drops something that holds a staged file where the removal may block.
pub(super) async fn drop_blocking(holder: impl Send + 'static) {
    let dropped = run_blocking(move || {
        drop(holder);
        Ok(())
    });
    // Only the server's end can keep it from running, and that drops the holder as well.
    let _ = dropped.await;
}
