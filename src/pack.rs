//! Packing folders, and unpacking archives that nobody vouches for: a tar, alone or in gzip, zstd, xz or bzip2. The runner
//! and the client's commands use it; the server never looks into an archive.
//!
//! An archive that is unpacked is read twice. The first pass reads headers only, and refuses what must not be unpacked
//! before anything is written; the second writes, through handles of folders that follow no link, and makes links last.
//!
//! A folder is listed first, then read once; the same tree becomes the same bytes on every machine.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;

use crate::clock::Timestamp;

mod ahead;
mod commit;
mod compress;
mod compression;
mod contents;
mod encode;
mod error;
mod header;
mod limits;
mod links;
mod names;
mod pack_error;
mod pack_progress;
mod pax;
mod plan;
mod squeeze;
mod tar;
mod tree;
mod walk;
mod write;
mod zstd;

use contents::Contents;
use plan::Plan;
use squeeze::{Put, Squeezer};
use tar::{Kind, TarReader};

pub use commit::list_commit;
pub use compress::{Compression, NoCompression};
pub use error::{ArchiveFault, EntryFault, EntryName, UnpackError};
pub use limits::UnpackLimits;
pub use pack_error::PackError;
pub use pack_progress::PackProgress;
pub use squeeze::Written;
pub use tree::{Culprit, Oddity, Tree, TreeEntry, TreeKind, Warning, named};
pub use walk::{IGNORE_FILE, IgnoreRules, list};

/// What an archive was unpacked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    pub entries: usize,
    pub bytes: u64,
    /// All was in one folder at the root of the archive, whose inside is the tree. Else the root itself is.
    pub is_lifted: bool,
}

/// Unpacks an archive into the empty folder `into`, which nobody else may write to. What it left if it
/// fails is for the caller to remove. Times after `now` are not kept.
pub fn unpack(
    mut archive: impl Read + Seek + Send,
    into: &Path,
    limits: UnpackLimits,
    now: Timestamp,
) -> Result<Unpacked, UnpackError> {
    let root = File::open(into).map_err(|source| UnpackError::Write {
        entry: EntryName::of(b"."),
        source,
    })?;
    let plan = Plan::read(TarReader::open(&mut archive, limits)?, limits)?;
    thread::scope(|scope| {
        let tar = TarReader::open_ahead(&mut archive, limits, scope)?;
        write::write(tar, &plan, &root, now)
    })?;
    Ok(Unpacked {
        entries: plan.entries(),
        bytes: plan.bytes(),
        is_lifted: plan.is_lifted(),
    })
}

/// What is in an archive, as an unpacker takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    pub unpacked: Unpacked,
    /// Its entries, by their names in the archive.
    pub tree: Vec<TreeEntry>,
}

/// Reads an archive as [`unpack`] does, and writes nothing. What it would refuse is refused.
pub fn inspect(
    mut archive: impl Read + Seek + Send,
    limits: UnpackLimits,
) -> Result<Inspected, UnpackError> {
    let plan = Plan::read(TarReader::open(&mut archive, limits)?, limits)?;
    let mut tree = Vec::new();
    let mut tar = TarReader::open(&mut archive, limits)?;
    while let Some(entry) = tar.next()? {
        let kind = match entry.kind {
            Kind::File {
                bytes,
                is_executable,
            } => TreeKind::File {
                bytes,
                is_executable,
            },
            Kind::Folder => TreeKind::Folder,
            Kind::Symlink(target) | Kind::HardLink(target) => TreeKind::Link {
                target: target.into(),
            },
        };
        let path = entry.name.into();
        tree.push(TreeEntry { path, kind });
    }
    Ok(Inspected {
        unpacked: Unpacked {
            entries: plan.entries(),
            bytes: plan.bytes(),
            is_lifted: plan.is_lifted(),
        },
        tree,
    })
}

/// What a tree was packed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    pub written: Written,
    /// What was odd about files while they were read.
    pub warnings: Vec<Warning>,
}

/// Packs a tree into the empty file `into`, below one folder called `root`.
pub fn pack(
    tree: &Tree,
    root: &[u8],
    compression: Compression,
    into: File,
    limit_bytes: u64,
    progress: &PackProgress,
) -> Result<Packed, PackError> {
    if tree.entries.is_empty() {
        return Err(PackError::Empty);
    }
    let mut warnings = Vec::new();
    let written = thread::scope(|scope| {
        let mut archive = Squeezer::start(scope, compression, into, limit_bytes, progress);
        let put = put_all(tree, root, &mut archive, &mut warnings, progress);
        // The writer's error wins: the reader has only noticed it.
        let finished = archive.finish();
        if progress.is_stopped.load(Ordering::Relaxed) {
            return Err(PackError::Stopped);
        }
        put.and(finished)
    });
    let written = written.map_err(|error| {
        if let PackError::TooLarge { limit_bytes, .. } = error {
            let largest = tree.largest();
            return PackError::TooLarge {
                limit_bytes,
                largest,
            };
        }
        error
    })?;
    Ok(Packed { written, warnings })
}

fn put_all(
    tree: &Tree,
    root: &[u8],
    archive: &mut Squeezer<'_>,
    warnings: &mut Vec<Warning>,
    progress: &PackProgress,
) -> Result<(), PackError> {
    let mut contents = Contents::open(tree)?;
    let root_name = [root, b"/"].concat();
    if !archive.put(&encode::entry(&root_name, &TreeKind::Folder)) {
        return Ok(());
    }
    for (number, entry) in tree.entries.iter().enumerate() {
        let end: &[u8] = if entry.kind == TreeKind::Folder {
            b"/"
        } else {
            b""
        };
        let name = [&root_name, &*entry.path, end].concat();
        if !archive.put(&encode::entry(&name, &entry.kind)) {
            return Ok(());
        }
        if let TreeKind::File { bytes, .. } = entry.kind {
            match contents.put(number, entry, bytes, archive)? {
                Put::Whole(warning) => warnings.extend(warning),
                Put::Stopped => return Ok(()),
            }
            if !archive.put_zeros(encode::padding(bytes)) {
                return Ok(());
            }
        }
        progress.entries.store(number + 1, Ordering::Relaxed);
    }
    archive.put(&encode::END);
    Ok(())
}
