//! The bytes of the tar in an archive, whatever its compression, which is detected from its first bytes.

use std::io::{self, BufReader, Read, Seek};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::error::{ArchiveFault, UnpackError};
use super::limits::WINDOW_BYTES;
use super::zstd::ZstdReader;
use crate::media::{MAGIC_BYTES, MediaType};

/// How much is read, and unpacked, at once.
pub(super) const BUFFER_BYTES: usize = 128 * 1024;

pub(super) fn open<'a>(
    archive: &'a mut (impl Read + Seek + Send),
) -> Result<Box<dyn Read + Send + 'a>, UnpackError> {
    let media_type = media_type(archive).map_err(UnpackError::Read)?;
    let archive = BufReader::with_capacity(BUFFER_BYTES, archive);
    let limit_kib = WINDOW_BYTES / 1024 + 1024;
    Ok(match media_type {
        MediaType::Tar => Box::new(archive),
        MediaType::Gzip => Box::new(MultiGzDecoder::new(archive)),
        MediaType::Zstd => Box::new(ZstdReader::new(archive)),
        MediaType::Xz => Box::new(XzReader::new_mem_limit(archive, true, limit_kib)),
        MediaType::Bzip2 => Box::new(MultiBzDecoder::new(archive)),
        MediaType::Zip | MediaType::Lz4 | MediaType::Unknown => {
            let media_type = media_type.name();
            return Err(ArchiveFault::NoTar { media_type }.into());
        }
    })
}

fn media_type(archive: &mut (impl Read + Seek)) -> io::Result<MediaType> {
    let mut head = Vec::new();
    archive.rewind()?;
    archive.take(MAGIC_BYTES as u64).read_to_end(&mut head)?;
    archive.rewind()?;
    Ok(MediaType::of(&head))
}
