//! One sync of a folder for all who have made a name in it: uploads that finish together share it.
//!
//! Whoever comes while a sync is running may have come too late for it, and waits for the next, which
//! one of those who wait begins. A sync that fails has failed for all whom it was for: the system tells
//! of a lost write once, so a second sync proves nothing.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;

use super::threads::{Condvar, Mutex, MutexGuard};

/// The folders that are being synced; a folder is known by a `K`.
#[derive(Debug)]
pub(super) struct GroupSync<K> {
    folders: Mutex<HashMap<K, Rounds>>,
    ended: Condvar,
}

/// The syncs of one folder, counted from one for as long as somebody is waiting for one.
#[derive(Debug, Default)]
struct Rounds {
    begun: u64,
    ended: u64,
    /// Which of them failed, and the system's code.
    failed: Vec<(u64, i32)>,
    waiting: usize,
}

impl Rounds {
    const fn is_running(&self) -> bool {
        self.begun > self.ended
    }

    fn result(&self, round: u64) -> io::Result<()> {
        match self.failed.iter().find(|(failed, _)| *failed == round) {
            Some((_, code)) => Err(io::Error::from_raw_os_error(*code)),
            None => Ok(()),
        }
    }
}

impl<K: Copy + Eq + Hash> GroupSync<K> {
    pub(super) fn new() -> Self {
        Self {
            folders: Mutex::new(HashMap::new()),
            ended: Condvar::new(),
        }
    }

    /// Returns when a sync of the folder that began after this call has ended. `sync` does one.
    pub(super) fn sync(&self, folder: K, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut folders = self.lock();
        let rounds = folders.entry(folder).or_default();
        rounds.waiting += 1;
        let round = rounds.begun + 1;
        while folders[&folder].ended < round && folders[&folder].is_running() {
            folders = self.ended.wait(folders).expect("no panic while it is held");
        }
        if folders[&folder].ended < round {
            folders = self.lead(folders, folder, sync);
        }
        let rounds = folders.entry(folder).or_default();
        let result = rounds.result(round);
        rounds.waiting -= 1;
        if rounds.waiting == 0 {
            folders.remove(&folder);
        }
        result
    }

    fn lead<'a>(
        &'a self,
        mut folders: MutexGuard<'a, HashMap<K, Rounds>>,
        folder: K,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> MutexGuard<'a, HashMap<K, Rounds>> {
        folders.entry(folder).or_default().begun += 1;
        drop(folders);
        let synced = sync();
        let mut folders = self.lock();
        let rounds = folders.entry(folder).or_default();
        rounds.ended += 1;
        if let Err(error) = synced {
            let code = error
                .raw_os_error()
                .unwrap_or(rustix::io::Errno::IO.raw_os_error());
            rounds.failed.push((rounds.ended, code));
        }
        self.ended.notify_all();
        folders
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Rounds>> {
        self.folders.lock().expect("no panic while it is held")
    }
}
