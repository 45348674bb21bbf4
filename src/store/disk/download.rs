//! Reading an archive: its facts from the end of the file, its bytes in pieces, one read ahead.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::task::JoinHandle;

use super::footer::{self, FOOTER_BYTES};
use super::{Shared, settle};
use crate::source::SourceId;
use crate::store::{ByteStream, Download, DownloadPlace, StoreError};

/// How many bytes are read at a time. Two pieces are in memory for each download.
const PIECE_BYTES: u64 = 256 * 1024;
/// A file up to this length is read whole when it is opened: one visit to the disk is enough.
const SMALL_FILE_BYTES: u64 = 64 * 1024;

/// An open archive.
#[derive(Debug)]
pub struct DiskDownload {
    file: Arc<ArchiveFile>,
    /// All its bytes, if they are few.
    small: Option<Bytes>,
}

#[derive(Debug)]
struct ArchiveFile {
    file: File,
    path: PathBuf,
}

/// Opens the archive of `source`; `None` if there is none that is durable.
pub(super) fn open(shared: &Shared, source: SourceId) -> Result<Option<Download>, StoreError> {
    let path = shared.layout.source(source);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(shared.error("open", &path, error)),
    };
    if shared.turns.is_linking(source) {
        return Ok(None);
    }
    // Asked in this order: all names of an archive that is taken back are removed before its turn
    // ends, so here it has none left.
    let metadata = file
        .metadata()
        .map_err(|error| shared.error("inspect", &path, error))?;
    if metadata.nlink() == 0 {
        return Ok(None);
    }
    let archive = ArchiveFile { file, path };
    archive.read_facts(source, metadata.len()).map(Some)
}

impl ArchiveFile {
    fn read_facts(self, source: SourceId, file_bytes: u64) -> Result<Download, StoreError> {
        let footer_bytes = FOOTER_BYTES as u64;
        let Some(size_bytes) = file_bytes.checked_sub(footer_bytes) else {
            return Err(self.corrupt("it is too short"));
        };
        let (small, end) = if file_bytes <= SMALL_FILE_BYTES {
            let mut whole = self.read(0..file_bytes)?;
            let end = whole.split_off(whole.len() - FOOTER_BYTES);
            (Some(whole), end)
        } else {
            (None, self.read(size_bytes..file_bytes)?)
        };
        let mut footer = [0; FOOTER_BYTES];
        footer.copy_from_slice(&end);
        let facts =
            footer::decode(source, &footer, file_bytes).map_err(|problem| self.corrupt(problem))?;
        let place = DownloadPlace::Disk(DiskDownload {
            file: Arc::new(self),
            small,
        });
        Ok(Download { facts, place })
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let mut bytes = vec![0; fit(range.end - range.start)];
        match self.file.read_exact_at(&mut bytes, range.start) {
            Ok(()) => Ok(bytes.into()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.corrupt("it has become shorter"))
            }
            Err(source) => Err(StoreError::Io {
                doing: "read",
                path: self.path.clone(),
                source,
            }),
        }
    }

    fn corrupt(&self, problem: &'static str) -> StoreError {
        StoreError::Corrupt {
            path: self.path.clone(),
            problem,
        }
    }
}

impl DiskDownload {
    pub(in crate::store) fn into_stream(self, range: Range<u64>) -> ByteStream {
        if let Some(small) = self.small {
            let range = fit(range.start)..fit(range.end);
            return stream::once(async move { Ok(small.slice(range)) }).boxed();
        }
        let reads = Reads {
            file: self.file,
            left: range,
            ahead: None,
        };
        stream::unfold(reads, Reads::next).boxed()
    }
}

/// A length or offset within a piece or a small file.
fn fit(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a piece or a small file fits into memory")
}

/// The reads that a stream still has to do.
struct Reads {
    file: Arc<ArchiveFile>,
    left: Range<u64>,
    ahead: Option<JoinHandle<Result<Bytes, StoreError>>>,
}

impl Reads {
    async fn next(mut self) -> Option<(Result<Bytes, StoreError>, Self)> {
        let ahead = match self.ahead.take() {
            Some(ahead) => ahead,
            None => self.start_read()?,
        };
        let piece = settle(ahead.await);
        if piece.is_err() {
            self.left = 0..0; // an error ends the stream
        }
        self.ahead = self.start_read();
        Some((piece, self))
    }

    fn start_read(&mut self) -> Option<JoinHandle<Result<Bytes, StoreError>>> {
        if self.left.is_empty() {
            return None;
        }
        let end = self.left.end.min(self.left.start + PIECE_BYTES);
        let piece = self.left.start..end;
        self.left.start = end;
        let file = Arc::clone(&self.file);
        Some(tokio::task::spawn_blocking(move || file.read(piece)))
    }
}
