//! What is to be packed: folders, files and links, in the order in which they are packed, and what is odd about them.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::path::PathBuf;

use bytesize::ByteSize;

use super::error::EntryName;

/// How many of the largest files are named where a tree is too large.
const NAMED_FILES: usize = 5;

/// A folder of a file system, or a commit of it, that is to be packed.
#[derive(Debug)]
pub struct Tree {
    pub(super) origin: Origin,
    pub(super) entries: Vec<TreeEntry>,
    pub(super) warnings: Vec<Warning>,
}

/// Where the contents of files are read.
#[derive(Debug)]
pub(super) enum Origin {
    Folder(PathBuf),
    /// The ids of the objects of its entries, in their order; empty for what is no file.
    Commit {
        folder: PathBuf,
        objects: Vec<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// Below the root, without a slash at its ends; any bytes but zero.
    pub path: Box<[u8]>,
    pub kind: TreeKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeKind {
    Folder,
    File { bytes: u64, is_executable: bool },
    Link { target: Box<[u8]> },
}

impl Tree {
    pub fn entries(&self) -> &[TreeEntry] {
        &self.entries
    }

    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// How many files there are.
    pub fn files(&self) -> usize {
        self.sizes().count()
    }

    /// The bytes of all files together.
    pub fn bytes(&self) -> u64 {
        self.sizes().map(|(bytes, _)| bytes).sum()
    }

    /// The largest files, the largest first.
    pub fn largest(&self) -> Vec<Culprit> {
        let mut sizes: Vec<_> = self.sizes().collect();
        sizes.sort_by_key(|(bytes, path)| (Reverse(*bytes), *path));
        sizes.truncate(NAMED_FILES);
        let culprit = |(bytes, path)| Culprit {
            path: EntryName::of(path),
            bytes,
        };
        sizes.into_iter().map(culprit).collect()
    }

    fn sizes(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.entries.iter().filter_map(|entry| match entry.kind {
            TreeKind::File { bytes, .. } => Some((bytes, &*entry.path)),
            TreeKind::Folder | TreeKind::Link { .. } => None,
        })
    }
}

/// A large file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Culprit {
    pub path: EntryName,
    pub bytes: u64,
}

/// Names and sizes in one line.
pub fn named(culprits: &[Culprit]) -> String {
    let mut text = String::new();
    for (number, Culprit { path, bytes }) in culprits.iter().enumerate() {
        let comma = if number == 0 { "" } else { ", " };
        write!(text, "{comma}{path} ({})", ByteSize(*bytes)).expect("a String takes all");
    }
    text
}

/// Something that is packed otherwise than it might be expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} {oddity}")]
pub struct Warning {
    pub path: EntryName,
    pub oddity: Oddity,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    #[error("is a link to {0}, which does not exist")]
    LinkToNothing(EntryName),
    #[error("is a link to {0}, which leads out of the folder: it is left out")]
    LinkLeadsOut(EntryName),
    #[error(
        "is a link to {0}, which has '..' after a name, so no runner unpacks it: it is left out"
    )]
    LinkGoesUpAgain(EntryName),
    #[error("is neither a file, a folder nor a link: it is left out")]
    NoFile,
    #[error("is a submodule, whose files are not part of the commit: it is left out")]
    Submodule,
    #[error("grew while it was read: everything after its first {bytes} bytes is left out")]
    Grew { bytes: u64 },
    #[error("cannot be used as a file of ignore rules: {0}")]
    IgnoreRule(String),
}

impl Warning {
    pub(super) fn of(path: &[u8], oddity: Oddity) -> Self {
        let path = EntryName::of(path);
        Self { path, oddity }
    }
}
