//! The bytes of the tar in an archive, whatever its compression, which is detected from its first bytes.

use std::io::{self, BufRead, BufReader, Read, Seek};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::error::{ArchiveFault, UnpackError};
use super::limits::WINDOW_BYTES;
use super::zstd::ZstdReader;
use crate::media::{MAGIC_BYTES, MediaType};

/// How much is read, and unpacked, at once.
const BUFFER_BYTES: usize = 128 * 1024;
pub(super) fn open<'a>(
    archive: &'a mut (impl Read + Seek),
) -> Result<Box<dyn BufRead + 'a>, UnpackError> {
    let media_type = media_type(archive).map_err(UnpackError::Read)?;
    let archive = BufReader::with_capacity(BUFFER_BYTES, archive);
    let limit_kib = WINDOW_BYTES / 1024 + 1024;
    Ok(match media_type {
        MediaType::Tar => Box::new(archive),
        MediaType::Gzip => buffered(MultiGzDecoder::new(archive)),
        MediaType::Zstd => buffered(ZstdReader::new(archive)),
        MediaType::Xz => buffered(XzReader::new_mem_limit(archive, true, limit_kib)),
        MediaType::Bzip2 => buffered(MultiBzDecoder::new(archive)),
        MediaType::Zip | MediaType::Lz4 | MediaType::Unknown => {
            let media_type = media_type.name();
            return Err(ArchiveFault::NoTar { media_type }.into());
        }
    })
}

fn buffered<'a>(decoder: impl Read + 'a) -> Box<dyn BufRead + 'a> {
    Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
}

fn media_type(archive: &mut (impl Read + Seek)) -> io::Result<MediaType> {
    let mut head = Vec::new();
    archive.rewind()?;
    archive.take(MAGIC_BYTES as u64).read_to_end(&mut head)?;
    archive.rewind()?;
    Ok(MediaType::of(&head))
}
