//! Reading an archive: its record, then its parts, one after the other, one ahead.
//!
//! A part is read whole before any of it is sent, so that a slow client holds no connection to the
//! object store.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use futures_util::{Stream, StreamExt};
use object_store::{Error, ObjectStoreExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::download_pin::DownloadPin;
use super::errors::failed;
use super::keys::{Attempt, Role};
use super::shared::BucketStore;
use crate::source::{Facts, SourceId};
use crate::store::archive::ByteStream;
use crate::store::error::{Result, StoreError, settle};

#[derive(Debug)]
pub struct BucketDownload {
    store: Arc<BucketStore>,
    source: SourceId,
    pub(crate) facts: Facts,
    attempt: Attempt,
    part_bytes: u64,
}

impl BucketStore {
    /// Finds the archive of `source`; `None` if there is none.
    pub(crate) async fn open_download(
        self: &Arc<Self>,
        source: SourceId,
    ) -> Result<Option<BucketDownload>> {
        let found = self.read_record(source).await?;
        Ok(found.map(|record| BucketDownload {
            store: Arc::clone(self),
            source,
            facts: record.facts,
            attempt: record.attempt,
            part_bytes: record.part_bytes,
        }))
    }
}

impl BucketDownload {
    pub(crate) fn into_stream(self, range: Range<u64>) -> ByteStream {
        let pinned = async move {
            let pin = DownloadPin::hold(&self.store, self.source).await;
            self.into_reads(range, Some(pin))
        };
        stream::once(pinned).flatten().boxed()
    }

    /// The same, for who reads on although the source may be deleted meanwhile.
    pub(crate) fn into_unpinned_stream(self, range: Range<u64>) -> ByteStream {
        self.into_reads(range, None).boxed()
    }

    fn into_reads(
        self,
        range: Range<u64>,
        pin: Option<DownloadPin>,
    ) -> impl Stream<Item = Result<Bytes>> {
        let reads = Reads {
            download: Arc::new(self),
            left: range,
            ahead: None,
            _pin: pin,
        };
        stream::unfold(reads, Reads::next)
    }

    /// The bytes of `range`, which lies within one part.
    async fn read(self: Arc<Self>, range: Range<u64>) -> Result<Bytes> {
        let part_bytes = self.part_bytes;
        let number = range.start / part_bytes;
        let start = number * part_bytes;
        let attempt = self.attempt;
        let role = Role::Part { attempt, number };
        let key = self.store.keys.of(self.source, role);
        let within = range.start - start..range.end - start;
        let wanted = within.end - within.start;
        let read = self.store.objects().get_range(&key, within).await;
        let problem = match read {
            Ok(bytes) if bytes.len() as u64 == wanted => return Ok(bytes),
            Ok(_) => "it is shorter than its record says",
            Err(Error::NotFound { .. }) => "its record names it, and it is not there",
            Err(error) => return Err(failed("read a part")(error)),
        };
        Err(StoreError::Corrupt {
            path: key.as_ref().into(),
            problem,
        })
    }
}

/// The reads that a stream still has to do.
struct Reads {
    download: Arc<BucketDownload>,
    left: Range<u64>,
    ahead: Option<JoinHandle<(Result<Bytes>, OwnedSemaphorePermit)>>,
    _pin: Option<DownloadPin>,
}

impl Reads {
    async fn next(mut self) -> Option<(Result<Bytes>, Self)> {
        let piece = if let Some(ahead) = self.ahead.take() {
            settle(ahead.await.map(|(piece, _slot)| piece))
        } else {
            let range = self.take_range()?;
            Arc::clone(&self.download).read(range).await
        };
        if piece.is_err() {
            self.left = 0..0; // an error ends the stream
        }
        self.start_ahead();
        Some((piece, self))
    }

    /// What is left of the next part.
    fn take_range(&mut self) -> Option<Range<u64>> {
        if self.left.is_empty() {
            return None;
        }
        let part_bytes = self.download.part_bytes;
        let part_end = (self.left.start / part_bytes + 1) * part_bytes;
        let range = self.left.start..part_end.min(self.left.end);
        self.left.start = range.end;
        Some(range)
    }

    /// Starts to read the next part if there is a slot for it; else it is read when it is asked for.
    fn start_ahead(&mut self) {
        let slots = Arc::clone(&self.download.store.download_slots);
        if let Ok(slot) = slots.try_acquire_owned()
            && let Some(range) = self.take_range()
        {
            let read = Arc::clone(&self.download).read(range);
            self.ahead = Some(tokio::spawn(async move { (read.await, slot) }));
        }
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        if let Some(ahead) = &self.ahead {
            ahead.abort();
        }
    }
}
