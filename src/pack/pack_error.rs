//! Why a folder is not packed.

use std::io;

use bytesize::ByteSize;

use super::error::EntryName;
use super::tree::{Culprit, named};

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("cannot list the folder")]
    List(#[source] ignore::Error),
    #[error("cannot read {path}; a line in .waystationignore leaves it out")]
    Read { path: EntryName, source: io::Error },
    #[error(
        "{path} became shorter than {bytes} bytes while it was read: try again once nothing writes to it"
    )]
    Shrank { path: EntryName, bytes: u64 },
    #[error("cannot write the archive to the folder for temporary files; TMPDIR names another")]
    Write(#[source] io::Error),
    #[error("cannot compress")]
    Compress(#[source] io::Error),
    #[error(
        "the archive is larger than {}, which is the server's limit. The largest files are: {}",
        ByteSize(*limit_bytes), named(largest)
    )]
    TooLarge {
        limit_bytes: u64,
        largest: Vec<Culprit>,
    },
    #[error("cannot run git, which --git needs")]
    Git(#[source] io::Error),
    #[error("git does not know the commit: {0}")]
    Commit(String),
    #[error("cannot understand git's answer")]
    GitAnswer,
    #[error("packing was stopped")]
    Stopped,
    #[error("there is nothing to pack: the folder is empty, or all in it is ignored")]
    Empty,
}

impl PackError {
    pub(super) fn read(path: &[u8]) -> impl FnOnce(io::Error) -> Self {
        let path = EntryName::of(path);
        move |source| Self::Read { path, source }
    }
}
