//! How an archive is compressed: by what, in how large blocks, by how many threads, and with how much memory.

use std::io;
use std::str::FromStr;

use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

const MIB: usize = 1024 * 1024;
/// What compressing may hold, so that a push stays within 64 MiB: the rest is for the program, and what it knows of the tree.
const MEMORY_BYTES: usize = 48 * MIB;
/// More would only hold more memory: reading does not keep up.
const MOST_WORKERS: usize = 4;
/// How many blocks that were compressed wait for their turn, for each thread.
pub(super) const DONE_BLOCKS: usize = 1;
/// As fast as it can be without becoming noticeably larger than what gzip makes.
const GZIP_LEVEL: u32 = 5;
const ZSTD_LEVEL: i32 = 3;
/// From here on zstd would hold up to 64 MiB for a block of ours: tables for what is far back, of which it finds little more.
const LARGE_TABLES_LEVEL: i32 = 10;
/// As powers of two, of four bytes each.
const MOST_CHAINS_LOG: u32 = 22;
const MOST_HASHES_LOG: u32 = 21;

/// How an archive is compressed, as `--compress` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Gzip { level: u32 },
    Zstd { level: i32 },
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it can be gzip, gzip:1 to gzip:9, zstd, zstd:1 to zstd:19, or none")]
pub struct NoCompression;

impl Default for Compression {
    fn default() -> Self {
        Self::Gzip { level: GZIP_LEVEL }
    }
}

impl FromStr for Compression {
    type Err = NoCompression;

    fn from_str(text: &str) -> Result<Self, NoCompression> {
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level.parse::<u8>().map_err(|_| NoCompression)?)),
            None => (text, None),
        };
        match (name, level) {
            ("gzip", None) => Ok(Self::default()),
            ("gzip", Some(level @ 1..=9)) => Ok(Self::Gzip {
                level: level.into(),
            }),
            ("zstd", None) => Ok(Self::Zstd { level: ZSTD_LEVEL }),
            ("zstd", Some(level @ 1..=19)) => Ok(Self::Zstd {
                level: level.into(),
            }),
            ("none", None) => Ok(Self::None),
            _ => Err(NoCompression),
        }
    }
}

impl Compression {
    /// Larger ones are compressed better; gzip looks back 32 KiB only.
    pub(super) const fn block_bytes(self) -> usize {
        match self {
            Self::Zstd { .. } => 4 * MIB,
            Self::Gzip { .. } | Self::None => MIB,
        }
    }

    /// How many blocks wait for each thread, beside the one that is being filled for all of them.
    pub(super) const fn waiting_blocks(self) -> usize {
        match self {
            Self::Zstd { .. } => 0,
            Self::Gzip { .. } | Self::None => 1,
        }
    }

    /// How many threads there is memory for, even if nothing can be compressed: beside their own there are a block that is
    /// being filled and one that is being written.
    pub(super) fn most_workers(self) -> usize {
        let left = MEMORY_BYTES - 2 * self.block_bytes();
        (left / self.worker_bytes()).clamp(1, MOST_WORKERS)
    }

    /// The most that a thread holds: the blocks that wait for it, the one that it compresses, what becomes of that, and what
    /// has become of those before.
    const fn worker_bytes(self) -> usize {
        let blocks = self.waiting_blocks() + 2 + DONE_BLOCKS;
        blocks * self.block_bytes() + self.state_bytes()
    }

    /// What the library holds for a thread, measured.
    const fn state_bytes(self) -> usize {
        match self {
            Self::Zstd { level: ..=3 } => 2 * MIB,
            Self::Zstd { level: ..=6 } => 3 * MIB,
            Self::Zstd { level: ..=8 } => 6 * MIB,
            Self::Zstd { level: ..=12 } => 11 * MIB,
            Self::Zstd { .. } => 26 * MIB,
            Self::Gzip { .. } => MIB,
            Self::None => 0,
        }
    }
}

/// One that holds no more than [`Compression::state_bytes`].
pub(super) fn zstd_compressor(level: i32) -> io::Result<Compressor<'static>> {
    let mut zstd = Compressor::new(level)?;
    if level >= LARGE_TABLES_LEVEL {
        zstd.set_parameter(CParameter::ChainLog(MOST_CHAINS_LOG))?;
        zstd.set_parameter(CParameter::HashLog(MOST_HASHES_LOG))?;
    }
    Ok(zstd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compression_is_a_name_and_maybe_a_level() {
        for (text, compression) in [
            ("gzip", Ok(Compression::Gzip { level: 5 })),
            ("gzip:1", Ok(Compression::Gzip { level: 1 })),
            ("gzip:9", Ok(Compression::Gzip { level: 9 })),
            ("zstd", Ok(Compression::Zstd { level: 3 })),
            ("zstd:19", Ok(Compression::Zstd { level: 19 })),
            ("none", Ok(Compression::None)),
            ("gzip:0", Err(NoCompression)),
            ("gzip:10", Err(NoCompression)),
            ("zstd:0", Err(NoCompression)),
            ("zstd:20", Err(NoCompression)),
            ("none:1", Err(NoCompression)),
            ("xz", Err(NoCompression)),
            ("", Err(NoCompression)),
        ] {
            assert_eq!(text.parse(), compression, "{text}");
        }
    }

    /// On how many processors ever.
    #[test]
    fn as_many_threads_compress_as_there_is_memory_for() {
        for (compression, workers) in [
            (Compression::Gzip { level: 9 }, 4),
            (Compression::None, 4),
            (Compression::Zstd { level: 1 }, 2),
            (Compression::Zstd { level: 6 }, 2),
            (Compression::Zstd { level: 8 }, 2),
            (Compression::Zstd { level: 12 }, 1),
            (Compression::Zstd { level: 19 }, 1),
        ] {
            assert_eq!(compression.most_workers(), workers, "{compression:?}");
            let bytes = workers * compression.worker_bytes() + 2 * compression.block_bytes();
            assert!(bytes <= MEMORY_BYTES, "{compression:?}: {bytes}");
        }
    }

    #[test]
    fn zstd_holds_what_is_reckoned_with_and_no_more() {
        for level in 1..=19 {
            let compression = Compression::Zstd { level };
            let mut zstd = zstd_compressor(level).unwrap();
            zstd.compress(&vec![0; compression.block_bytes()]).unwrap();
            let bytes = zstd.context_mut().sizeof();
            assert!(bytes <= compression.state_bytes(), "{level}: {bytes}");
        }
    }
}
