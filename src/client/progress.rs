//! How far a transfer has come, for those who watch it.

use std::sync::atomic::{AtomicU64, Ordering};

pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    notice: Box<dyn Fn(&str) + Send + Sync>,
}

impl Progress {
    /// `notice` is handed a sentence where something happens that is worth one.
    pub fn new(notice: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            notice: Box::new(notice),
        }
    }

    /// In bytes.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// In bytes; 0 if it is not known.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(super) fn set_done(&self, bytes: u64) {
        self.done.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_total(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn notice(&self, text: &str) {
        (self.notice)(text);
    }
}
