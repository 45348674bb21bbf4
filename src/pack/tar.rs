//! A tar, entry by entry: headers, with the names and attributes that stand before them, and contents.
//!
//! Both passes read through it, so they cannot differ in what they make of an archive.

use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::thread::Scope;

use super::ahead::Ahead;
use super::compression::{self, BUFFER_BYTES};
use super::error::{ArchiveFault, EntryFault, EntryName, UnpackError};
use super::header::{BLOCK_BYTES, Header, name_of, until_zero};
use super::limits::UnpackLimits;
use super::pax::Attributes;

/// How long what stands before a header may be: it is read into memory.
const ATTRIBUTE_BYTES: u64 = 64 * 1024;
/// What a tar may have beside the contents of its files: headers for each entry, padding, and zeros at its
/// end. Without a limit on it, a few kilobytes could unpack to zeros or attributes for hours.
const OVERHEAD_BYTES: u64 = 1024 * 1024;
const OVERHEAD_BYTES_PER_ENTRY: u64 = 8 * 1024;

pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    /// In seconds since the epoch, if it is known.
    pub(super) modified_at: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File {
        bytes: u64,
        is_executable: bool,
    },
    Folder,
    /// With its target, as it stands there.
    Symlink(Vec<u8>),
    /// With the name of another entry.
    HardLink(Vec<u8>),
}

pub(super) struct TarReader<'a> {
    tar: Box<dyn BufRead + 'a>,
    limits: UnpackLimits,
    /// How much may still come.
    left_bytes: u64,
    /// What of the content of the current entry has not been read, and of what fills its last block.
    content_bytes: u64,
    padding_bytes: u64,
}

/// What the headers before an entry say of it.
#[derive(Default)]
struct PendingHeaders {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    attributes: Option<Attributes>,
}

impl<'a> TarReader<'a> {
    pub(super) fn open(
        archive: &'a mut (impl Read + Seek + Send),
        limits: UnpackLimits,
    ) -> Result<Self, UnpackError> {
        let tar = compression::open(archive)?;
        let tar = BufReader::with_capacity(BUFFER_BYTES, tar);
        Ok(Self::new(Box::new(tar), limits))
    }

    /// As [`Self::open`], for one whose contents are wanted: they are read ahead, beside what is done with them.
    pub(super) fn open_ahead(
        archive: &'a mut (impl Read + Seek + Send),
        limits: UnpackLimits,
        scope: &'a Scope<'a, '_>,
    ) -> Result<Self, UnpackError> {
        let tar = Ahead::start(scope, compression::open(archive)?);
        Ok(Self::new(Box::new(tar.map_err(UnpackError::Read)?), limits))
    }

    fn new(tar: Box<dyn BufRead + 'a>, limits: UnpackLimits) -> Self {
        let overhead = OVERHEAD_BYTES_PER_ENTRY.saturating_mul(limits.entries as u64);
        Self {
            tar,
            limits,
            left_bytes: limits
                .unpacked_bytes
                .saturating_add(overhead)
                .saturating_add(OVERHEAD_BYTES),
            content_bytes: 0,
            padding_bytes: 0,
        }
    }

    /// The next entry; none at the end of the archive. What is left of the last one is passed over.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut pending = PendingHeaders::default();
        loop {
            self.skip_content()?;
            let block = self.read_block()?;
            if block == [0; BLOCK_BYTES] {
                return self.end(&pending).map(|()| None);
            }
            let header = Header::parse(&block).map_err(|fault| fault.of(&name_of(&block)))?;
            match header.kind {
                b'L' | b'K' | b'x' | b'g' => self.read_pending(&header, &mut pending)?,
                _ => {
                    let name = pending.name_for(&header);
                    let entry = pending.entry(header).map_err(|fault| fault.of(&name))?;
                    if let Kind::File { bytes, .. } = entry.kind {
                        self.begin_content(bytes);
                    }
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Copies the content of the entry that was read last. Says apart whose failure it is.
    pub(super) fn copy_content(
        &mut self,
        to: &mut impl Write,
    ) -> Result<io::Result<()>, UnpackError> {
        while self.content_bytes > 0 {
            let bytes = fill(&mut self.tar)?;
            let count = bytes.len().min(to_usize(self.content_bytes));
            if let Err(error) = to.write_all(&bytes[..count]) {
                return Ok(Err(error));
            }
            self.consume(count)?;
            self.content_bytes -= count as u64;
        }
        Ok(Ok(()))
    }

    fn begin_content(&mut self, bytes: u64) {
        self.content_bytes = bytes;
        self.padding_bytes = bytes.wrapping_neg() % BLOCK_BYTES as u64;
    }

    fn skip_content(&mut self) -> Result<(), UnpackError> {
        self.copy_content(&mut io::sink())?
            .map_err(UnpackError::Read)?;
        self.content_bytes = std::mem::take(&mut self.padding_bytes);
        self.copy_content(&mut io::sink())?
            .map_err(UnpackError::Read)
    }

    /// Reads what stands before a header, if it is not too long to be kept.
    fn read_pending(
        &mut self,
        header: &Header,
        pending: &mut PendingHeaders,
    ) -> Result<(), UnpackError> {
        let refused = |fault: EntryFault| fault.of(&header.name);
        if header.size_bytes > ATTRIBUTE_BYTES {
            return Err(refused(EntryFault::AttributesTooLong {
                bytes: header.size_bytes,
                limit_bytes: ATTRIBUTE_BYTES,
            }));
        }
        self.begin_content(header.size_bytes);
        let mut bytes = Vec::new();
        self.copy_content(&mut bytes)?.map_err(UnpackError::Read)?;
        pending.add(header.kind, &bytes).map_err(refused)
    }

    fn read_block(&mut self) -> Result<[u8; BLOCK_BYTES], UnpackError> {
        if self.tar.fill_buf().map_err(UnpackError::Read)?.is_empty() {
            return Err(ArchiveFault::NoEnd.into());
        }
        let mut block = [0; BLOCK_BYTES];
        let mut rest = &mut block[..];
        self.content_bytes = BLOCK_BYTES as u64;
        self.copy_content(&mut rest)?.map_err(UnpackError::Read)?;
        Ok(block)
    }

    /// A block of zeros may be followed by zeros only: another program might continue to read there.
    fn end(&mut self, pending: &PendingHeaders) -> Result<(), UnpackError> {
        if !pending.is_empty() {
            return Err(ArchiveFault::AttributesOfNothing.into());
        }
        loop {
            let bytes = self.tar.fill_buf().map_err(UnpackError::Read)?;
            let count = bytes.len();
            if count == 0 {
                return Ok(());
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Err(ArchiveFault::BytesAfterEnd.into());
            }
            self.consume(count)?;
        }
    }

    fn consume(&mut self, count: usize) -> Result<(), UnpackError> {
        self.tar.consume(count);
        let left = self.left_bytes.checked_sub(count as u64);
        let limit_bytes = self.limits.unpacked_bytes;
        self.left_bytes = left.ok_or(ArchiveFault::TooLarge { limit_bytes })?;
        Ok(())
    }
}

/// Bytes that are there, one at least.
fn fill<'a>(tar: &'a mut Box<dyn BufRead + '_>) -> Result<&'a [u8], UnpackError> {
    let bytes = tar.fill_buf().map_err(UnpackError::Read)?;
    if bytes.is_empty() {
        return Err(ArchiveFault::CutOff.into());
    }
    Ok(bytes)
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl PendingHeaders {
    fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && self.attributes.is_none()
    }

    fn add(&mut self, kind: u8, bytes: &[u8]) -> Result<(), EntryFault> {
        let replaces = match kind {
            b'L' => self.name.replace(text(bytes)?).is_some(),
            b'K' => self.link.replace(text(bytes)?).is_some(),
            b'x' => {
                let attributes = Attributes::parse(bytes)?;
                self.attributes.replace(attributes).is_some()
            }
            _ if Attributes::parse(bytes)? == Attributes::default() => false,
            _ => return Err(EntryFault::NameOfAll),
        };
        if replaces {
            return Err(EntryFault::Ambiguous);
        }
        Ok(())
    }

    /// What an entry is called in an error.
    fn name_for(&self, header: &Header) -> Vec<u8> {
        let attributes = self.attributes.as_ref();
        let name = attributes.and_then(|attributes| attributes.name.as_ref());
        name.or(self.name.as_ref()).unwrap_or(&header.name).clone()
    }

    fn entry(self, header: Header) -> Result<Entry, EntryFault> {
        let attributes = self.attributes.unwrap_or_default();
        let name = one_of(self.name, attributes.name)?.unwrap_or(header.name);
        let link = one_of(self.link, attributes.link)?.unwrap_or(header.link);
        let header_bytes = header.size_bytes;
        if let Some(attribute_bytes) = attributes.size_bytes
            && attribute_bytes != header_bytes
        {
            return Err(EntryFault::SizesDiffer {
                header_bytes,
                attribute_bytes,
            });
        }
        let kind = match header.kind {
            // Of the tars before POSIX, folders are files whose name ends with a slash.
            b'0' | b'\0' | b'7' if !name.ends_with(b"/") => Kind::File {
                bytes: header_bytes,
                is_executable: header.is_executable,
            },
            b'0' | b'\0' | b'7' | b'5' => Kind::Folder,
            b'1' => Kind::HardLink(link),
            b'2' => Kind::Symlink(link),
            b'3' | b'4' | b'6' => return Err(EntryFault::Device),
            b'S' => return Err(EntryFault::Sparse),
            other => return Err(EntryFault::Type(other)),
        };
        if header_bytes > 0 && !matches!(kind, Kind::File { .. }) {
            return Err(EntryFault::SizeOfNoFile {
                bytes: header_bytes,
            });
        }
        Ok(Entry {
            name,
            kind,
            modified_at: header.modified_at,
        })
    }
}

/// A long name ends with a zero byte, which is the last.
fn text(bytes: &[u8]) -> Result<Vec<u8>, EntryFault> {
    let text = until_zero(bytes);
    if bytes[text.len()..].iter().any(|byte| *byte != 0) {
        return Err(EntryFault::ZeroByte);
    }
    Ok(text.to_vec())
}

fn one_of(
    long: Option<Vec<u8>>,
    attribute: Option<Vec<u8>>,
) -> Result<Option<Vec<u8>>, EntryFault> {
    if long.is_some() && attribute.is_some() {
        return Err(EntryFault::Ambiguous);
    }
    Ok(long.or(attribute))
}

impl Entry {
    pub(super) fn refuse(&self, fault: EntryFault) -> UnpackError {
        UnpackError::Entry {
            entry: EntryName::of(&self.name),
            fault,
        }
    }
}
