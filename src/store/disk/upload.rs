//! Taking an upload's bytes in: written and digested on a thread that may block, while the next
//! ones arrive.
//!
//! ```text
//! write ──> waiting ──(one batch at a time)──> blocking thread: file, then digests
//!              │ more than MAX_WAITING_BYTES: write() waits, and so does the client
//! ```

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::publish::StagedFile;
use super::stage::StageFile;
use super::{Shared, run_blocking, settle};
use crate::digest::Digester;
use crate::media::{MAGIC_BYTES, MediaType};
use crate::source::SourceId;
use crate::store::{Staged, StagedPlace, StoreError};

/// How many bytes may wait while a batch is being written.
const MAX_WAITING_BYTES: usize = 512 * 1024;

/// An upload to a folder under way.
#[derive(Debug)]
pub struct DiskUpload {
    shared: Arc<Shared>,
    source: SourceId,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    writer: Writer,
}

/// Where the file is: here, or lent to the thread that writes a batch.
#[derive(Debug)]
enum Writer {
    Here(Box<Received>),
    Writing(JoinHandle<Result<Box<Received>, StoreError>>),
    /// A write failed; the file is gone.
    Failed,
}

/// What has been received: in the file, and what is known of it.
#[derive(Debug)]
struct Received {
    stage: StageFile,
    digester: Digester,
    head: Vec<u8>,
    size_bytes: u64,
}

impl Received {
    fn take(&mut self, shared: &Shared, batch: &[Bytes]) -> Result<(), StoreError> {
        let batch_bytes = batch.iter().map(Bytes::len).sum::<usize>() as u64;
        shared
            .writing_bytes
            .fetch_add(batch_bytes, Ordering::Relaxed);
        let written = shared.check_room(0).and_then(|()| self.take_chunks(batch));
        shared
            .writing_bytes
            .fetch_sub(batch_bytes, Ordering::Relaxed);
        self.size_bytes += batch_bytes;
        written
    }

    fn take_chunks(&mut self, batch: &[Bytes]) -> Result<(), StoreError> {
        for chunk in batch {
            self.stage.write(chunk)?;
            self.digester.update(chunk);
            let missing = MAGIC_BYTES - self.head.len();
            self.head.extend(chunk.iter().take(missing));
        }
        Ok(())
    }
}

impl DiskUpload {
    pub(super) fn new(
        shared: Arc<Shared>,
        source: SourceId,
        stage: StageFile,
        digester: Digester,
    ) -> Self {
        let received = Received {
            stage,
            digester,
            head: Vec::with_capacity(MAGIC_BYTES),
            size_bytes: 0,
        };
        Self {
            shared,
            source,
            waiting: Vec::new(),
            waiting_bytes: 0,
            writer: Writer::Here(Box::new(received)),
        }
    }

    pub(in crate::store) async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        self.waiting_bytes += chunk.len();
        self.waiting.push(chunk);
        let is_writing = matches!(&self.writer, Writer::Writing(batch) if !batch.is_finished());
        if is_writing && self.waiting_bytes < MAX_WAITING_BYTES {
            return Ok(());
        }
        let received = self.take_back().await?;
        self.start_batch(received);
        Ok(())
    }

    pub(in crate::store) async fn finish(mut self) -> Result<Staged, StoreError> {
        let mut received = self.take_back().await?;
        if !self.waiting.is_empty() {
            self.start_batch(received);
            received = self.take_back().await?;
        }
        let received = *received;
        Ok(Staged {
            size_bytes: received.size_bytes,
            digests: received.digester.finish(),
            media_type: MediaType::of(&received.head),
            place: StagedPlace::Disk(StagedFile::new(
                Arc::clone(&self.shared),
                self.source,
                received.stage,
            )),
        })
    }

    pub(in crate::store) async fn abandon(mut self) {
        // A write that failed has removed the file already.
        if let Ok(received) = self.take_back().await {
            drop_blocking(received).await;
        }
    }

    /// Waits for the batch being written, if there is one. Giving up waiting loses nothing.
    async fn take_back(&mut self) -> Result<Box<Received>, StoreError> {
        if let Writer::Writing(batch) = &mut self.writer {
            let written = settle(batch.await);
            self.writer = Writer::Failed;
            return written;
        }
        match mem::replace(&mut self.writer, Writer::Failed) {
            Writer::Here(received) => Ok(received),
            Writer::Writing(_) | Writer::Failed => Err(StoreError::Ending),
        }
    }

    fn start_batch(&mut self, mut received: Box<Received>) {
        let batch = mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let shared = Arc::clone(&self.shared);
        self.writer = Writer::Writing(tokio::task::spawn_blocking(move || {
            received.take(&shared, &batch)?;
            Ok(received)
        }));
    }
}

impl Drop for DiskUpload {
    /// An upload whose client went away is dropped wherever it was; its file is removed where that
    /// may block. A batch being written removes it when it ends.
    fn drop(&mut self) {
        if let Writer::Here(received) = mem::replace(&mut self.writer, Writer::Failed)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(received));
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
