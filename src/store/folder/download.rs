//! Reading an archive: its facts from the end of the file, its bytes in pieces; what is in memory at
//! once, what is not on a thread that may block, one piece ahead.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use rustix::fs::{CWD, Mode, ResolveFlags, openat2};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::task::JoinHandle;

use super::footer::{self, FOOTER_BYTES};
use super::shared::{FolderStore, TO_READ, open_to_read};
use super::threads::Work;
use crate::source::{Facts, SourceId};
use crate::store::archive::ByteStream;
use crate::store::error::{Result, StoreError, settle};

/// How many bytes are read at a time where the disk is waited for. Two pieces are in memory for each
/// download.
const PIECE_BYTES: u64 = 256 * 1024;
/// The same where they are in memory already: a second copy of more would gain nothing.
const CACHED_PIECE_BYTES: u64 = 64 * 1024;
/// How many bytes of a file are pointed at in one piece.
pub const MAX_PART_BYTES: usize = 1024 * 1024;
/// The smallest page that any system has.
const PAGE_BYTES: u64 = 4 * 1024;
/// A file up to this length is read whole when it is opened: one visit to the disk is enough.
const SMALL_FILE_BYTES: u64 = 128 * 1024;

/// The same archive in pieces, of which some are not read but only pointed at.
pub type PieceStream = BoxStream<'static, Result<Piece>>;

/// The next bytes of an archive.
#[derive(Debug)]
pub enum Piece {
    /// Here they are.
    Bytes(Bytes),
    /// They lie in a file.
    InFile(FilePart),
}

/// An open archive.
#[derive(Debug)]
pub struct FolderDownload {
    pub(crate) facts: Facts,
    file: Arc<ArchiveFile>,
    /// All its bytes, if they are few.
    small: Option<Bytes>,
}

#[derive(Debug)]
struct ArchiveFile {
    file: File,
    path: PathBuf,
    store: Arc<FolderStore>,
}

/// May the disk be waited for?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// On a thread that may block.
    Allowed,
    /// On one that serves others meanwhile: only what is in memory is taken.
    Never,
}

impl FolderStore {
    /// Opens the archive of `source`; `None` if there is none that is durable. On the thread of the caller
    /// if all that it takes is in memory: to hand a small archive to another thread and back costs more
    /// than to read it.
    pub(crate) async fn open_download(
        self: &Arc<Self>,
        source: SourceId,
    ) -> Result<Option<FolderDownload>> {
        match self.open_archive(source, Wait::Never) {
            Err(error) if is_not_at_once(&error) => {
                let open = move |store: &Arc<Self>| store.open_waiting(source);
                self.run(Work::Look, open).await
            }
            opened => opened,
        }
    }

    /// The same, on a thread that may block.
    pub(super) fn open_waiting(
        self: &Arc<Self>,
        source: SourceId,
    ) -> Result<Option<FolderDownload>> {
        self.open_archive(source, Wait::Allowed)
    }

    fn open_archive(
        self: &Arc<Self>,
        source: SourceId,
        wait: Wait,
    ) -> Result<Option<FolderDownload>> {
        let path = self.layout.source(source);
        let file = match self.call("open", "open", &path, || open_file(&path, wait)) {
            Err(error) if error.is_not_found() => return Ok(None),
            opened => opened?,
        };
        if self.turns.is_linking(source) {
            return Ok(None);
        }
        // Asked in this order: all names of an archive that is taken back are removed before its turn
        // ends, so here it has none left.
        let metadata = self.call("fstat", "inspect", &path, || file.metadata())?;
        if metadata.nlink() == 0 {
            return Ok(None);
        }
        let archive = ArchiveFile {
            file,
            path,
            store: Arc::clone(self),
        };
        archive.read_facts(source, metadata.len(), wait).map(Some)
    }
}

fn open_file(path: &Path, wait: Wait) -> io::Result<File> {
    match wait {
        Wait::Allowed => open_to_read(path),
        Wait::Never => match openat2(CWD, path, TO_READ, Mode::empty(), ResolveFlags::CACHED) {
            // Whether the whole store is gone, only a thread that may block finds out.
            Err(Errno::NOENT) => Err(io::ErrorKind::WouldBlock.into()),
            opened => Ok(opened?.into()),
        },
    }
}

/// The system says that it would wait, or that it is too old, or not allowed, to tell.
fn is_not_at_once(error: &StoreError) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported, WouldBlock};
    matches!(
        error.io_kind(),
        Some(WouldBlock | Unsupported | InvalidInput | PermissionDenied)
    )
}

fn read_cached(file: &File, bytes: &mut [u8], start: u64) -> io::Result<()> {
    let wanted_bytes = bytes.len();
    let mut into = [IoSliceMut::new(bytes)];
    if preadv2(file, &mut into, start, ReadWriteFlags::NOWAIT)? == wanted_bytes {
        return Ok(());
    }
    Err(io::ErrorKind::WouldBlock.into())
}

impl ArchiveFile {
    fn read_facts(self, source: SourceId, file_bytes: u64, wait: Wait) -> Result<FolderDownload> {
        let footer_bytes = FOOTER_BYTES as u64;
        let Some(size_bytes) = file_bytes.checked_sub(footer_bytes) else {
            return Err(self.corrupt("it is too short"));
        };
        let (small, end) = if file_bytes <= SMALL_FILE_BYTES {
            let mut whole = self.read(0..file_bytes, wait)?;
            let end = whole.split_off(whole.len() - FOOTER_BYTES);
            (Some(whole), end)
        } else {
            (None, self.read(size_bytes..file_bytes, wait)?)
        };
        let mut footer = [0; FOOTER_BYTES];
        footer.copy_from_slice(&end);
        let facts =
            footer::decode(source, &footer, file_bytes).map_err(|problem| self.corrupt(problem))?;
        Ok(FolderDownload {
            facts,
            file: Arc::new(self),
            small,
        })
    }

    /// Takes all or nothing.
    fn read(&self, range: Range<u64>, wait: Wait) -> Result<Bytes> {
        let mut bytes = vec![0; fit(range.end - range.start)];
        let faults = &self.store.faults;
        let read = match wait {
            Wait::Allowed => {
                faults.call("pread", || self.file.read_exact_at(&mut bytes, range.start))
            }
            Wait::Never => {
                let read = || read_cached(&self.file, &mut bytes, range.start);
                // What is wrong, if anything is, the next read on a thread that may block will find.
                let read = faults.call("preadv2", read);
                read.map_err(|_| io::ErrorKind::WouldBlock.into())
            }
        };
        match read {
            Ok(()) => Ok(bytes.into()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.corrupt("it has become shorter"))
            }
            Err(error) => Err(StoreError::of_system("read", "read", &self.path, error)),
        }
    }

    /// Can the page that holds the byte at `offset` be read without waiting for the disk?
    fn is_in_memory(&self, offset: u64) -> bool {
        let read = || read_cached(&self.file, &mut [0], offset);
        self.store.faults.call("preadv2", read).is_ok()
    }

    fn corrupt(&self, problem: &'static str) -> StoreError {
        StoreError::Corrupt {
            path: self.path.clone(),
            problem,
        }
    }
}

impl FolderDownload {
    pub(crate) fn into_stream(self, range: Range<u64>) -> ByteStream {
        if let Some(small) = self.small {
            let range = fit(range.start)..fit(range.end);
            return stream::once(async move { Ok(small.slice(range)) }).boxed();
        }
        let reads = Reads::new(self.file, range);
        stream::unfold(reads, Reads::next).boxed()
    }

    pub(crate) fn into_pieces(self, range: Range<u64>) -> PieceStream {
        if self.small.is_some() {
            let bytes = self.into_stream(range);
            return bytes.map(|bytes| bytes.map(Piece::Bytes)).boxed();
        }
        let starts = range.clone().step_by(MAX_PART_BYTES);
        let parts = starts.map(move |start| FilePart {
            file: Arc::clone(&self.file),
            range: start..range.end.min(start + MAX_PART_BYTES as u64),
        });
        stream::iter(parts.map(|part| Ok(Piece::InFile(part)))).boxed()
    }
}

/// Bytes of an archive that have not been read, at most [`MAX_PART_BYTES`].
#[derive(Clone, Debug)]
pub struct FilePart {
    file: Arc<ArchiveFile>,
    range: Range<u64>,
}

impl FilePart {
    /// Where in its file it begins, in bytes.
    pub const fn offset(&self) -> u64 {
        self.range.start
    }

    /// How many bytes it has.
    pub fn length(&self) -> usize {
        fit(self.range.end - self.range.start)
    }

    /// Takes away its first bytes: they have been sent.
    pub fn advance(&mut self, sent_bytes: usize) {
        self.range.start += sent_bytes as u64;
    }

    /// How many of its first bytes, of `limit_bytes`, can be sent without waiting for the disk. Each page is
    /// asked for, since what lies between two that are in memory need not be.
    pub fn bytes_in_memory(&self, limit_bytes: usize) -> usize {
        let start = self.range.start;
        let end = self.range.end.min(start + limit_bytes as u64);
        let mut at = start;
        while at < end && self.file.is_in_memory(at) {
            at = (at / PAGE_BYTES + 1) * PAGE_BYTES;
        }
        fit(at.min(end) - start)
    }

    /// Reads its first bytes on a thread that may wait for the disk, behind other reads.
    pub fn read(&self) -> BoxFuture<'static, Result<Bytes>> {
        let start = self.range.start;
        let range = start..self.range.end.min(start + PIECE_BYTES);
        let read = start_read(&self.file, range);
        Box::pin(async { settle(read.await) })
    }
}

impl AsFd for FilePart {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.file.as_fd()
    }
}

/// A length or offset within a piece or a small file.
fn fit(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a piece or a small file fits into memory")
}

/// The reads that a stream still has to do: at once where the bytes are in memory, else one ahead on a
/// thread that may block.
struct Reads {
    file: Arc<ArchiveFile>,
    left: Range<u64>,
    ahead: Option<JoinHandle<Result<Bytes>>>,
}

impl Reads {
    const fn new(file: Arc<ArchiveFile>, range: Range<u64>) -> Self {
        Self {
            file,
            left: range,
            ahead: None,
        }
    }

    async fn next(mut self) -> Option<(Result<Bytes>, Self)> {
        let piece = if let Some(ahead) = self.ahead.take() {
            settle(ahead.await)
        } else {
            let range = self.next_range(CACHED_PIECE_BYTES);
            if !range.is_empty()
                && let Ok(piece) = self.file.read(range.clone(), Wait::Never)
            {
                self.left.start = range.end;
                return Some((Ok(piece), self));
            }
            let range = self.take_range()?;
            settle(start_read(&self.file, range).await)
        };
        if piece.is_err() {
            self.left = 0..0; // an error ends the stream
        }
        // The disk had to be waited for once, so it will be again.
        if let Some(range) = self.take_range() {
            self.ahead = Some(start_read(&self.file, range));
        }
        Some((piece, self))
    }

    fn take_range(&mut self) -> Option<Range<u64>> {
        let range = self.next_range(PIECE_BYTES);
        self.left.start = range.end;
        (!range.is_empty()).then_some(range)
    }

    fn next_range(&self, max_bytes: u64) -> Range<u64> {
        let end = self.left.end.min(self.left.start + max_bytes);
        self.left.start..end
    }
}

fn start_read(file: &Arc<ArchiveFile>, range: Range<u64>) -> JoinHandle<Result<Bytes>> {
    let file = Arc::clone(file);
    let store = Arc::clone(&file.store);
    let read = move |_: &Arc<FolderStore>| file.read(range, Wait::Allowed);
    tokio::spawn(async move { store.run(Work::Read, read).await })
}
