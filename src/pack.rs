//! Unpacking archives that nobody vouches for: a tar, alone or in gzip, zstd, xz or bzip2. The runner alone uses
//! it; the server never looks into an archive.
//!
//! An archive is read twice. The first pass reads headers only, and refuses what must not be unpacked before
//! anything is written; the second writes, through handles of folders that follow no link, and makes links last.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use crate::clock::Timestamp;

mod compression;
mod error;
mod header;
mod limits;
mod names;
mod pax;
mod plan;
mod tar;
mod write;
mod zstd;

use plan::Plan;
use tar::TarReader;

pub use error::{ArchiveFault, EntryFault, EntryName, UnpackError};
pub use limits::UnpackLimits;

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
    mut archive: impl Read + Seek,
    into: &Path,
    limits: UnpackLimits,
    now: Timestamp,
) -> Result<Unpacked, UnpackError> {
    let root = File::open(into).map_err(|source| UnpackError::Write {
        entry: EntryName::of(b"."),
        source,
    })?;
    let plan = Plan::read(TarReader::open(&mut archive, limits)?, limits)?;
    write::write(TarReader::open(&mut archive, limits)?, &plan, &root, now)?;
    Ok(Unpacked {
        entries: plan.entries(),
        bytes: plan.bytes(),
        is_lifted: plan.is_lifted(),
    })
}
