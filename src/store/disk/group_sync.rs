//! One sync of a folder for all who have made a name in it: uploads that finish together share it.
//!
//! Whoever comes while a sync is running may have come too late for it, and waits for the next, which
//! one of those who wait begins. A sync that fails has failed for all whom it was for: the system tells
//! of a lost write once, so a second sync proves nothing.

use std::collections::HashMap;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard};

use super::layout::Bucket;

/// The folders that are being synced.
#[derive(Debug, Default)]
pub(super) struct GroupSync {
    folders: Mutex<HashMap<Bucket, Rounds>>,
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
    fn result(&self, round: u64) -> io::Result<()> {
        match self.failed.iter().find(|(failed, _)| *failed == round) {
            Some((_, code)) => Err(io::Error::from_raw_os_error(*code)),
            None => Ok(()),
        }
    }
}

impl GroupSync {
    /// Returns when a sync of the folder that began after this call has ended. `sync` does one.
    pub(super) fn sync(
        &self,
        folder: Bucket,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut folders = self.lock();
        let rounds = folders.entry(folder).or_default();
        rounds.waiting += 1;
        let round = rounds.begun + 1;
        folders = self
            .ended
            .wait_while(folders, |folders| {
                let rounds = &folders[&folder];
                rounds.ended < round && rounds.begun > rounds.ended
            })
            .expect("no panic while it is held");
        let is_done = folders[&folder].ended >= round;
        if !is_done {
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
        mut folders: MutexGuard<'a, HashMap<Bucket, Rounds>>,
        folder: Bucket,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> MutexGuard<'a, HashMap<Bucket, Rounds>> {
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

    fn lock(&self) -> MutexGuard<'_, HashMap<Bucket, Rounds>> {
        self.folders.lock().expect("no panic while it is held")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, mpsc};
    use std::thread;

    use super::*;
    use crate::clock::Timestamp;
    use crate::source::SourceId;

    fn folder(seconds: u64) -> Bucket {
        Bucket::of(SourceId::mint(Timestamp::from_ms(seconds * 1000), [0; 10]))
    }

    fn waiting(syncs: &GroupSync, folder: Bucket) -> usize {
        syncs.lock().get(&folder).map_or(0, |rounds| rounds.waiting)
    }

    /// One sync is running while eight more come: how often is the folder synced, and with what result?
    fn eight_come_during_a_sync(
        second: impl Fn() -> io::Result<()> + Send + Sync + 'static,
    ) -> (u64, Vec<io::Result<()>>) {
        let syncs = Arc::new(GroupSync::default());
        let count = Arc::new(AtomicU64::new(0));
        let second = Arc::new(second);
        let (begun, has_begun) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        let (first_syncs, first_count) = (Arc::clone(&syncs), Arc::clone(&count));
        let first = thread::spawn(move || {
            first_syncs.sync(folder(1), || {
                begun.send(()).unwrap();
                may_go.recv().unwrap();
                first_count.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
        });
        has_begun.recv().unwrap();
        let others: Vec<_> = (0..8)
            .map(|_| {
                let (syncs, count) = (Arc::clone(&syncs), Arc::clone(&count));
                let second = Arc::clone(&second);
                thread::spawn(move || {
                    syncs.sync(folder(1), || {
                        count.fetch_add(1, Ordering::Relaxed);
                        second()
                    })
                })
            })
            .collect();
        while waiting(&syncs, folder(1)) < 9 {
            thread::yield_now();
        }
        go.send(()).unwrap();
        first.join().unwrap().unwrap();
        let results = others.into_iter().map(|other| other.join().unwrap());
        let results = results.collect();
        assert!(syncs.lock().is_empty());
        (count.load(Ordering::Relaxed), results)
    }

    #[test]
    fn who_comes_during_a_sync_shares_the_next() {
        let (syncs, results) = eight_come_during_a_sync(|| Ok(()));
        assert_eq!(syncs, 2);
        assert!(results.iter().all(Result::is_ok));
    }

    #[test]
    fn a_sync_that_fails_has_failed_for_all_whom_it_was_for() {
        let (syncs, results) = eight_come_during_a_sync(|| Err(rustix::io::Errno::NOSPC.into()));
        assert_eq!(syncs, 2);
        for result in results {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
    }

    #[test]
    fn folders_do_not_wait_for_each_other() {
        let syncs = GroupSync::default();
        syncs
            .sync(folder(1), || syncs.sync(folder(2), || Ok(())))
            .unwrap();
        assert!(syncs.lock().is_empty());
    }
}
