//! The file that says how far an attempt to upload in parts is.
//!
//! ```text
//! offset 0: what is saved │ 4096: the same, written in turn │ 8192: what the client said at the beginning
//! ```

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use super::layout::AttemptFile;
use super::shared::{FolderStore, private_file};
use crate::source::SourceId;
use crate::store::attempt::{Attempt, MAX_PLAN_BYTES, Plan, Progress, SAVED_BYTES, Saved, context};
use crate::store::error::Result;

/// Each slot has a block of its own, so that no device tears both at once.
pub(super) const SLOTS_AT: [u64; 2] = [0, SAVED_BYTES as u64];
const PLAN_AT: usize = 2 * SAVED_BYTES;

/// A state that was read, and its file.
pub(super) struct FoundState {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// Which slot counts.
    pub(super) slot: usize,
    pub(super) progress: Progress,
}

impl FolderStore {
    /// What the file says, if it is there and makes sense; the look for an archive is left to others.
    pub(super) fn read_state(
        &self,
        source: SourceId,
        attempt: Attempt,
    ) -> Result<Option<FoundState>> {
        let path = self.layout.attempt(source, attempt, AttemptFile::State);
        let mut bytes = Vec::new();
        let read = || {
            let mut options = private_file();
            let file = options.read(true).open(&path)?;
            (&file)
                .take((PLAN_AT + MAX_PLAN_BYTES) as u64)
                .read_to_end(&mut bytes)?;
            Ok(file)
        };
        let file = match self.call("read", "read", &path, read) {
            Err(error) if error.is_not_found() => return Ok(None),
            opened => opened?,
        };
        let found = decode(source, attempt, &bytes);
        if found.is_none() {
            tracing::error!(path = %path.display(), "an upload in parts is lost: its state cannot be read");
        }
        Ok(found.map(|(slot, progress)| FoundState {
            file,
            path,
            slot,
            progress,
        }))
    }
}

/// The file of an attempt that begins.
pub(super) fn encode(source: SourceId, attempt: Attempt, plan: &Plan, saved: &Saved) -> Vec<u8> {
    let mut content = saved.encode(&context(source, attempt));
    content.resize(PLAN_AT, 0);
    content.extend(serde_json::to_vec(plan).expect("a plain struct with text keys"));
    content
}

/// Which slot counts, and what it and the plan say; `None` if none is whole.
fn decode(source: SourceId, attempt: Attempt, bytes: &[u8]) -> Option<(usize, Progress)> {
    let context = context(source, attempt);
    let slots = bytes.chunks(SAVED_BYTES).take(2).enumerate();
    let slots = slots.filter_map(|(slot, bytes)| Some((slot, Saved::decode(&context, bytes)?)));
    // Neither an offset nor a length that is known is ever taken back, nor that it is all.
    let (slot, saved) =
        slots.max_by_key(|(_, saved)| (saved.offset, saved.is_whole, saved.announced_bytes))?;
    let plan = bytes.get(PLAN_AT..)?;
    let progress = Progress {
        plan: serde_json::from_slice(plan).ok()?,
        saved,
        first: None,
    };
    Some((slot, progress))
}
