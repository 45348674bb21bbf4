//! What those see who watch an archive being packed, and how they stop it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

/// How far packing has come, for those who watch.
#[derive(Debug, Default)]
pub struct PackProgress {
    pub entries: AtomicUsize,
    /// Of the archive, so far.
    pub written: AtomicU64,
    /// Nobody waits for the archive any more.
    pub is_stopped: AtomicBool,
}
