//! Threads that may wait for the disk. Whoever waits there keeps only its own kind waiting: while writes
//! and reads of archives take seconds, tokens are still made and looked up, archives opened, and what has
//! expired is deleted.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, spawn_blocking};

/// How many writes, and how many reads of archives, are under way at once: enough to keep a device busy.
const AT_ONCE: usize = 32;

/// How many threads that may block a runtime has to allow for a store in a folder, at least: those of
/// writes, those of reads, and as many for everybody else. What it allows by default is more.
pub const BLOCKING_THREADS: usize = 3 * AT_ONCE;

/// The kinds of work that do not wait for each other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// Names and small files, and what deletes archives. These are never many at once.
    Look,
    /// Bytes of archives, from the disk.
    Read,
    /// Bytes of archives, to the disk, and what makes them durable.
    Write,
}

#[derive(Debug)]
pub(super) struct Threads {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl Default for Threads {
    fn default() -> Self {
        Self {
            reads: Arc::new(Semaphore::new(AT_ONCE)),
            writes: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Threads {
    /// Waits for a thread behind others of the same kind.
    pub(super) async fn reserve(&self, kind: Work) -> Thread {
        let limit = match kind {
            Work::Look => return Thread(None),
            Work::Read => &self.reads,
            Work::Write => &self.writes,
        };
        // Nobody closes it.
        Thread(Arc::clone(limit).acquire_owned().await.ok())
    }
}

/// The right to a thread, given back when its work is done.
#[derive(Debug)]
pub(super) struct Thread(Option<OwnedSemaphorePermit>);

impl Thread {
    pub(super) fn start<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        spawn_blocking(move || {
            let done = work();
            drop(self.0);
            done
        })
    }
}
