//! Uploads that finish together: each makes a name in a folder, and has it synced.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc as StdArc, Mutex as StdMutex};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use loom::thread;

use crate::group_sync::GroupSync;
use crate::{FEW_PREEMPTIONS, PREEMPTIONS, in_each_order};

/// A folder that counts the names in it, those of them that are durable, and its syncs.
#[derive(Default)]
struct Folder {
    names: AtomicUsize,
    durable: AtomicUsize,
    syncs: AtomicUsize,
}

impl Folder {
    /// Makes a name; how many there are with it.
    fn make_name(&self) -> usize {
        self.names.fetch_add(1, SeqCst) + 1
    }

    /// What had a name when it begins is durable when it ends; the `fails`th one fails.
    fn sync(&self, fails: Option<usize>) -> io::Result<()> {
        let sync = self.syncs.fetch_add(1, SeqCst) + 1;
        let names = self.names.load(SeqCst);
        if fails == Some(sync) {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        self.durable.fetch_max(names, SeqCst);
        Ok(())
    }
}

/// Each of so many threads makes a name and has it synced. What all orders together were like: how many
/// syncs there were, and how many names were not said to be durable.
fn sync_together(
    threads: usize,
    preemptions: usize,
    fails: Option<usize>,
) -> BTreeSet<(usize, usize)> {
    let outcomes = StdArc::new(StdMutex::new(BTreeSet::new()));
    let seen = StdArc::clone(&outcomes);
    let orders = in_each_order(preemptions, move || {
        let syncs = Arc::new(GroupSync::new());
        let folder = Arc::new(Folder::default());
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                let (syncs, folder) = (Arc::clone(&syncs), Arc::clone(&folder));
                thread::spawn(move || {
                    let names = folder.make_name();
                    let result = syncs.sync((), || folder.sync(fails));
                    if let Err(error) = &result {
                        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                    } else {
                        assert!(folder.durable.load(SeqCst) >= names);
                    }
                    result.is_err()
                })
            })
            .collect();
        let failed = threads.into_iter().filter_map(|thread| {
            let is_failed = thread.join().unwrap();
            is_failed.then_some(())
        });
        let outcome = (failed.count(), folder.syncs.load(SeqCst));
        assert_eq!(format!("{syncs:?}").matches("Rounds").count(), 0);
        seen.lock().unwrap().insert((outcome.1, outcome.0));
    });
    println!("{threads} threads, {fails:?} fails: {orders} orders");
    StdArc::try_unwrap(outcomes).unwrap().into_inner().unwrap()
}

#[test]
fn a_name_is_durable_when_its_sync_has_ended_and_one_sync_may_do_for_several() {
    let outcomes = sync_together(3, PREEMPTIONS, None);
    // One that began before a name was made never does for it: alone, one after the other, or two together.
    assert_eq!(outcomes, BTreeSet::from([(2, 0), (3, 0)]));
}

#[test]
fn a_sync_that_fails_has_failed_for_all_whom_it_was_for_and_for_nobody_else() {
    let first = sync_together(3, PREEMPTIONS, Some(1));
    assert_eq!(first, BTreeSet::from([(2, 1), (3, 1)]));
    let second = sync_together(3, PREEMPTIONS, Some(2));
    assert_eq!(second, BTreeSet::from([(2, 2), (3, 1)]));
}

/// Three who wait for one sync: whoever does it has to wake both others.
#[test]
fn all_who_share_a_sync_are_told_of_its_end() {
    let outcomes = sync_together(4, FEW_PREEMPTIONS, None);
    assert!(outcomes.contains(&(2, 0)), "{outcomes:?}");
}

#[test]
fn folders_do_not_wait_for_each_other() {
    in_each_order(PREEMPTIONS, || {
        let syncs = GroupSync::new();
        syncs.sync(1, || syncs.sync(2, || Ok(()))).unwrap();
        assert_eq!(format!("{syncs:?}").matches("Rounds").count(), 0);
    });
}
