//! Opening an archive: its record, whose head says where the rest of it is.

use std::ops::Range;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::download_pin::DownloadPin;
use super::keys::Role;
use super::read::{Body, Layout, Reads};
use super::record::OpenRecord;
use super::shared::BucketStore;
use crate::source::{Facts, SourceId};
use crate::store::archive::ByteStream;
use crate::store::error::Result;

#[derive(Debug)]
pub struct BucketDownload {
    store: Arc<BucketStore>,
    source: SourceId,
    pub(crate) facts: Facts,
    open: OpenRecord,
}

impl BucketStore {
    /// Finds the archive of `source`; `None` if there is none.
    pub(crate) async fn open_download(
        self: &Arc<Self>,
        source: SourceId,
    ) -> Result<Option<BucketDownload>> {
        let found = self.open_record(source).await?;
        Ok(found.map(|open| BucketDownload {
            store: Arc::clone(self),
            source,
            facts: open.record.facts,
            open,
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
        self.into_reads(range, None)
    }

    fn into_reads(self, range: Range<u64>, pin: Option<DownloadPin>) -> ByteStream {
        // What comes behind the head is on its way already, if the bytes that are wanted begin there.
        let inline_bytes = self.open.record.inline_bytes();
        let wanted_bytes = match range.start {
            0 => inline_bytes.min(range.end),
            _ => 0,
        };
        let layout = Layout {
            store: self.store,
            source: self.source,
            record: self.open.record,
            head_bytes: self.open.head_bytes,
        };
        let mut come = self.open.come;
        come.truncate(usize::try_from(wanted_bytes).unwrap_or(usize::MAX));
        let left_bytes = wanted_bytes - come.len() as u64;
        let at_hand = (left_bytes > 0).then(|| {
            let key = layout.store.keys.of(layout.source, Role::Record);
            Body::new(key, left_bytes, self.open.content)
        });
        Reads::start(layout, range, come, at_hand, pin)
    }
}
