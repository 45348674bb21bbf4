//! Compressing in blocks, on several threads; the result does not depend on their number.
//!
//! ```text
//!            ┌─> a block ──> squeezed ─┐
//! the tar ───┼─> a block ──> squeezed ─┼──> in their order: digested and written
//!            └─> a block ──> squeezed ─┘
//! ```
//!
//! Each block is compressed by itself: gzip's as deflate that ends at a byte, all of them in one stream; zstd's as frames.

use std::fs::File;
use std::io::{self, Write as _};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use flate2::{Compress, Crc, FlushCompress};
use sha2::{Digest as _, Sha256};

use super::compress::{Compression, DONE_BLOCKS, zstd_compressor};
use super::pack_error::PackError;
use super::pack_progress::PackProgress;
use super::tree::Warning;
use crate::digest::Sha256Digest;

/// No name, no time, no system: RFC 1952, section 2.3.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty last block of deflate.
const DEFLATE_END: [u8; 2] = [3, 0];

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub bytes: u64,
    pub sha256: Sha256Digest,
}

/// How putting a file into the archive ended.
pub(super) enum Put {
    Whole(Option<Warning>),
    /// No more is taken.
    Stopped,
}

/// A block that was compressed.
struct Squeezed {
    bytes: Vec<u8>,
    /// Of what went in; gzip alone needs it.
    crc: Crc,
}

/// Takes the bytes of a tar, and hands them on in blocks.
pub(super) struct Squeezer<'scope> {
    is_stopped: &'scope AtomicBool,
    compression: Compression,
    block: Vec<u8>,
    filled: usize,
    workers: Vec<SyncSender<Vec<u8>>>,
    next: usize,
    sink: ScopedJoinHandle<'scope, Result<Written, SinkError>>,
}

#[derive(Debug)]
enum SinkError {
    Write(io::Error),
    Compress(io::Error),
    TooLarge { limit_bytes: u64 },
}

impl<'scope> Squeezer<'scope> {
    /// Writes to `to` in the background, and reports to `progress`.
    pub(super) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        compression: Compression,
        to: File,
        limit_bytes: u64,
        progress: &'env PackProgress,
    ) -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let (mut workers, mut squeezed) = (Vec::new(), Vec::new());
        for _ in 0..processors.min(compression.most_workers()) {
            let (give, take) = sync_channel(compression.waiting_blocks());
            let (hand_on, receive) = sync_channel(DONE_BLOCKS);
            scope.spawn(move || squeeze_all(compression, &take, &hand_on));
            workers.push(give);
            squeezed.push(receive);
        }
        let sink = Sink {
            to,
            hash: Sha256::new(),
            bytes: 0,
            limit_bytes,
            written: &progress.written,
        };
        Self {
            is_stopped: &progress.is_stopped,
            compression,
            block: vec![0; compression.block_bytes()],
            filled: 0,
            workers,
            next: 0,
            sink: scope.spawn(move || sink.write_all(compression, &squeezed)),
        }
    }

    /// The buffer for the next bytes of the tar; never empty. Then call [`Self::advance`].
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.block[self.filled..]
    }

    /// So many bytes were put there. False if no more are taken: [`Self::finish`] says why.
    pub(super) fn advance(&mut self, count: usize) -> bool {
        self.filled += count;
        self.filled < self.block.len() || self.hand_on()
    }

    /// As [`Self::advance`], for bytes that are somewhere else.
    pub(super) fn put(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let room = self.room();
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            if !self.advance(count) {
                return false;
            }
        }
        true
    }

    pub(super) fn put_zeros(&mut self, count: usize) -> bool {
        const ZEROS: [u8; 512] = [0; 512];
        self.put(&ZEROS[..count])
    }

    fn hand_on(&mut self) -> bool {
        let fresh = vec![0; self.compression.block_bytes()];
        let mut block = std::mem::replace(&mut self.block, fresh);
        block.truncate(std::mem::take(&mut self.filled));
        let worker = &self.workers[self.next];
        self.next = (self.next + 1) % self.workers.len();
        !self.is_stopped.load(Ordering::Relaxed) && worker.send(block).is_ok()
    }

    pub(super) fn finish(mut self) -> Result<Written, PackError> {
        if self.filled > 0 {
            self.hand_on();
        }
        self.workers.clear();
        let written = self.sink.join().unwrap_or_else(|panicked| {
            std::panic::resume_unwind(panicked);
        });
        written.map_err(|error| match error {
            SinkError::Write(source) => PackError::Write(source),
            SinkError::Compress(source) => PackError::Compress(source),
            SinkError::TooLarge { limit_bytes } => PackError::TooLarge {
                limit_bytes,
                largest: Vec::new(),
            },
        })
    }
}

/// The work of one thread, until no more blocks come or nobody wants them.
fn squeeze_all(
    compression: Compression,
    blocks: &Receiver<Vec<u8>>,
    squeezed: &SyncSender<io::Result<Squeezed>>,
) {
    let mut squeeze: Box<dyn FnMut(Vec<u8>) -> io::Result<Squeezed>> = match compression {
        Compression::Gzip { level } => {
            let mut deflate = Compress::new(flate2::Compression::new(level), false);
            Box::new(move |block| deflate_block(&mut deflate, &block))
        }
        Compression::Zstd { level } => match zstd_compressor(level) {
            Ok(mut zstd) => Box::new(move |block| {
                let bytes = zstd.compress(&block)?;
                let crc = Crc::new();
                Ok(Squeezed { bytes, crc })
            }),
            Err(error) => {
                // If it is not wanted, another thread has failed before.
                let _ = squeezed.send(Err(error));
                return;
            }
        },
        Compression::None => Box::new(|bytes| {
            let crc = Crc::new();
            Ok(Squeezed { bytes, crc })
        }),
    };
    for block in blocks {
        if squeezed.send(squeeze(block)).is_err() {
            return;
        }
    }
}

fn deflate_block(deflate: &mut Compress, block: &[u8]) -> io::Result<Squeezed> {
    let mut crc = Crc::new();
    crc.update(block);
    deflate.reset();
    // What cannot be compressed becomes longer: level 1 knows fixed codes alone, of up to 9 bits for a byte.
    let mut bytes = Vec::with_capacity(block.len() + block.len() / 8 + 1024);
    deflate.compress_vec(block, &mut bytes, FlushCompress::Full)?;
    if deflate.total_in() == block.len() as u64 && bytes.len() < bytes.capacity() {
        Ok(Squeezed { bytes, crc })
    } else {
        Err(io::Error::other("deflate needed more room than it can"))
    }
}

struct Sink<'a> {
    to: File,
    hash: Sha256,
    bytes: u64,
    limit_bytes: u64,
    written: &'a AtomicU64,
}

impl Sink<'_> {
    fn write_all(
        mut self,
        compression: Compression,
        squeezed: &[Receiver<io::Result<Squeezed>>],
    ) -> Result<Written, SinkError> {
        let is_gzip = matches!(compression, Compression::Gzip { .. });
        let mut crc = Crc::new();
        if is_gzip {
            self.write(&GZIP_HEAD)?;
        }
        for next in squeezed.iter().cycle() {
            // The first that has no more is the end: they take turns.
            let Ok(block) = next.recv() else { break };
            let block = block.map_err(SinkError::Compress)?;
            crc.combine(&block.crc);
            self.write(&block.bytes)?;
        }
        if is_gzip {
            self.write(&DEFLATE_END)?;
            self.write(&crc.sum().to_le_bytes())?;
            // The length, in 32 bits.
            self.write(&crc.amount().to_le_bytes())?;
        }
        Ok(Written {
            bytes: self.bytes,
            sha256: Sha256Digest(self.hash.finalize().into()),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.bytes += bytes.len() as u64;
        let limit_bytes = self.limit_bytes;
        if self.bytes > limit_bytes {
            return Err(SinkError::TooLarge { limit_bytes });
        }
        self.hash.update(bytes);
        self.to.write_all(bytes).map_err(SinkError::Write)?;
        self.written.store(self.bytes, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_compressed_has_room_at_every_level() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005);
            state = state.wrapping_add(1);
            (state >> 56) as u8
        };
        let noise: Vec<_> = (0..1024 * 1024).map(|_| next()).collect();
        // Those bytes whose fixed codes are the longest.
        let long: Vec<_> = noise.iter().map(|byte| 144 + byte % 112).collect();
        for level in 1..=9 {
            let mut deflate = Compress::new(flate2::Compression::new(level), false);
            for block in [&noise, &long] {
                let deflated = deflate_block(&mut deflate, block);
                assert!(deflated.is_ok(), "{level}");
            }
        }
    }
}
