//! Why an archive is not unpacked.

use std::{fmt, io};

use crate::error_chain::printable;

/// How much of a name is shown.
const SHOWN_CHARS: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("the archive is refused: {0}")]
    Archive(#[from] ArchiveFault),
    #[error("the archive is refused: the entry {entry} {fault}")]
    Entry { entry: EntryName, fault: EntryFault },
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    #[error("cannot write {entry}")]
    Write { entry: EntryName, source: io::Error },
}

/// What is wrong with an archive as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveFault {
    #[error("it is neither a tar nor a tar in gzip, zstd, xz or bzip2, but {media_type}")]
    NoTar { media_type: &'static str },
    #[error("it has no entry")]
    Empty,
    #[error("it ends in the middle of an entry")]
    CutOff,
    #[error("it ends without the zeros that end a tar, so it may be truncated")]
    NoEnd,
    #[error("bytes follow its end")]
    BytesAfterEnd,
    #[error("the attributes at its end belong to no entry")]
    AttributesOfNothing,
    #[error("it has more than {limit} entries, counting folders")]
    TooManyEntries { limit: usize },
    #[error("it unpacks to more than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    #[error("the targets of its links have more than {limit_bytes} bytes together")]
    TooManyLinkBytes { limit_bytes: usize },
    #[error("it changed while it was read")]
    Changed,
}

/// What is wrong with one entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    #[error("has a header whose checksum is wrong")]
    Checksum,
    #[error("has a header of an unknown format")]
    Format,
    #[error("has a {field} that is not a number")]
    NoNumber { field: &'static str },
    #[error("has attributes that cannot be read")]
    Attributes,
    #[error("has a long name or attributes of {bytes} bytes; {limit_bytes} are allowed")]
    AttributesTooLong { bytes: u64, limit_bytes: u64 },
    #[error("has two names or duplicate attributes, which programs read differently")]
    Ambiguous,
    #[error("gives all that follow it one name or size")]
    NameOfAll,
    #[error(
        "has two sizes: {header_bytes} bytes by its header, {attribute_bytes} by its attributes"
    )]
    SizesDiffer {
        header_bytes: u64,
        attribute_bytes: u64,
    },
    #[error("is not a file, but has {bytes} bytes")]
    SizeOfNoFile { bytes: u64 },
    #[error("is a device or a pipe")]
    Device,
    #[error("is a sparse file")]
    Sparse,
    #[error("is of the type {:?}, which is neither file, folder nor link", char::from(*.0))]
    Type(u8),
    #[error("has no name")]
    NoName,
    #[error("has an absolute name")]
    Absolute,
    #[error("has '..' in its name")]
    Parent,
    #[error("has a zero byte in its name")]
    ZeroByte,
    #[error("has a name of {bytes} bytes; {limit_bytes} are allowed")]
    NameTooLong { bytes: usize, limit_bytes: usize },
    #[error("has {bytes} bytes between two slashes of its name; {limit_bytes} are allowed")]
    PartTooLong { bytes: usize, limit_bytes: usize },
    #[error("is {depth} folders deep; {limit} are allowed")]
    TooDeep { depth: usize, limit: usize },
    #[error("appears twice")]
    Twice,
    #[error("is not a folder, but others are below it")]
    NoFolder,
    #[error("is below {0}, which is not a folder")]
    BelowNoFolder(EntryName),
    #[error("is a link to nothing")]
    LinkToNothing,
    #[error("is a link to {0}, which leads out of the archive")]
    LeadsOut(EntryName),
    #[error("is a link to {0}, which has '..' after a name: write it without")]
    UpAfterDown(EntryName),
    #[error("is a hard link to {0}, and there is no such file before it")]
    LinkToNoFile(EntryName),
}

impl EntryFault {
    pub(super) fn of(self, entry: &[u8]) -> UnpackError {
        UnpackError::Entry {
            entry: EntryName::of(entry),
            fault: self,
        }
    }
}

/// The name of an entry, as a log can show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryName(String);

impl EntryName {
    pub(super) fn of(name: &[u8]) -> Self {
        let mut text = printable(&String::from_utf8_lossy(name));
        if let Some((end, _)) = text.char_indices().nth(SHOWN_CHARS) {
            text.truncate(end);
            text.push('…');
        }
        Self(text)
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0)
    }
}
