//! Reading the contents of what is packed: from a folder, or from a commit.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Mode, OFlags, openat};

use super::commit::CommitReader;
use super::error::EntryName;
use super::pack_error::PackError;
use super::squeeze::{Put, Squeezer};
use super::tree::{Oddity, Origin, Tree, TreeEntry, Warning};

pub(super) enum Contents<'a> {
    Folder {
        root: File,
    },
    Commit {
        git: CommitReader,
        objects: &'a [String],
    },
}

impl<'a> Contents<'a> {
    pub(super) fn open(tree: &'a Tree) -> Result<Self, PackError> {
        Ok(match &tree.origin {
            Origin::Folder(path) => Self::Folder {
                root: File::open(path).map_err(PackError::read(b"."))?,
            },
            Origin::Commit { folder, objects } => Self::Commit {
                git: CommitReader::start(folder)?,
                objects,
            },
        })
    }

    /// Puts the `bytes` bytes of a file into the archive.
    pub(super) fn put(
        &mut self,
        number: usize,
        entry: &TreeEntry,
        bytes: u64,
        archive: &mut Squeezer<'_>,
    ) -> Result<Put, PackError> {
        match self {
            Self::Folder { root } => {
                let file = open_below(root, &entry.path);
                let file = file.map_err(PackError::read(&entry.path))?;
                put_file(file, entry, bytes, archive)
            }
            Self::Commit { git, objects } => git.put(&objects[number], bytes, archive),
        }
    }
}

/// What became a link or a pipe since it was listed is neither followed nor waited for.
fn open_below(root: &File, path: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let path = OsStr::from_bytes(path);
    Ok(openat(root, path, flags, Mode::empty())?.into())
}

fn put_file(
    mut file: File,
    entry: &TreeEntry,
    bytes: u64,
    archive: &mut Squeezer<'_>,
) -> Result<Put, PackError> {
    let mut left = bytes;
    while left > 0 {
        let room = archive.room();
        let most = usize::try_from(left).map_or(room.len(), |left| left.min(room.len()));
        let count = match file.read(&mut room[..most]) {
            Ok(0) => {
                let path = EntryName::of(&entry.path);
                return Err(PackError::Shrank { path, bytes });
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(PackError::read(&entry.path)(error)),
        };
        left -= count as u64;
        if !archive.advance(count) {
            return Ok(Put::Stopped);
        }
    }
    let has_grown = file.read(&mut [0]).is_ok_and(|count| count > 0);
    let grew = || Warning::of(&entry.path, Oddity::Grew { bytes });
    Ok(Put::Whole(has_grown.then(grew)))
}
