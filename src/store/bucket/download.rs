//! Reading an archive: its record, then its parts, one after the other, one ahead.
//!
//! A part is read whole before any of it is sent, so that a slow client holds no connection to the
//! object store.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use object_store::ObjectStoreExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::errors::failed;
use super::keys::Role;
use super::pin::Pin;
use super::record::Record;
use super::shared::Shared;
use crate::source::SourceId;
use crate::store::archive::{ByteStream, Download};
use crate::store::error::StoreError;

/// An archive of a bucket.
#[derive(Debug)]
pub struct BucketDownload {
    shared: Arc<Shared>,
    source: SourceId,
    record: Record,
}

/// Finds the archive of `source`; `None` if there is none.
pub(super) async fn open(
    shared: &Arc<Shared>,
    source: SourceId,
) -> Result<Option<Download<BucketDownload>>, StoreError> {
    let found = Record::read(shared, source).await?;
    Ok(found.map(|record| Download {
        facts: record.facts,
        place: BucketDownload {
            shared: Arc::clone(shared),
            source,
            record,
        },
    }))
}

impl BucketDownload {
    pub(in crate::store) fn into_stream(self, range: Range<u64>) -> ByteStream {
        let reads = Reads {
            download: Arc::new(self),
            left: range,
            ahead: None,
            pin: None,
        };
        stream::unfold(reads, Reads::next).boxed()
    }

    /// The bytes of `range`, which lies within one part.
    async fn read(self: Arc<Self>, range: Range<u64>) -> Result<Bytes, StoreError> {
        let part_bytes = self.record.part_bytes;
        let number = range.start / part_bytes;
        let start = number * part_bytes;
        let attempt = self.record.attempt;
        let role = Role::Part { attempt, number };
        let key = self.shared.keys.of(self.source, role);
        let within = range.start - start..range.end - start;
        let wanted = within.end - within.start;
        let read = self.shared.objects().get_range(&key, within).await;
        let bytes = read.map_err(failed("read a part"))?;
        if bytes.len() as u64 == wanted {
            Ok(bytes)
        } else {
            Err(StoreError::Corrupt {
                path: key.as_ref().into(),
                problem: "it is shorter than its record says",
            })
        }
    }
}

/// The reads that a stream still has to do.
struct Reads {
    download: Arc<BucketDownload>,
    left: Range<u64>,
    ahead: Option<JoinHandle<(Result<Bytes, StoreError>, OwnedSemaphorePermit)>>,
    pin: Option<Pin>,
}

impl Reads {
    async fn next(mut self) -> Option<(Result<Bytes, StoreError>, Self)> {
        if self.pin.is_none() {
            let BucketDownload { shared, source, .. } = &*self.download;
            self.pin = Some(Pin::hold(shared, *source).await);
        }
        let piece = if let Some(ahead) = self.ahead.take() {
            let read = ahead.await.map(|(piece, _slot)| piece);
            read.unwrap_or(Err(StoreError::Ending))
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
        let part_bytes = self.download.record.part_bytes;
        let part_end = (self.left.start / part_bytes + 1) * part_bytes;
        let range = self.left.start..part_end.min(self.left.end);
        self.left.start = range.end;
        Some(range)
    }

    /// Starts to read the next part if there is a slot for it; else it is read when it is asked for.
    fn start_ahead(&mut self) {
        let slots = Arc::clone(&self.download.shared.download_slots);
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
