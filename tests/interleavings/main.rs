//! The two places of the store where threads wait for each other, in every order in which they can meet:
//! the turns of publications, and the shared sync of a folder.
//!
//! Their code is taken as it stands, with `loom`'s locks in place of the system's. `loom` runs each test
//! once for each order of the steps between which a thread can be held up (with so many times at most that
//! no lock asks for), and finds those who wait for each other for ever.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod publications;
mod shared_syncs;

#[path = "../../src/store/folder/group_sync.rs"]
mod group_sync;
#[path = "../../src/store/folder/turns.rs"]
mod turns;

/// What the two modules wait with.
mod threads {
    pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};
}

/// How often a thread is held up where it need not be. Almost all faults need it once or twice.
const PREEMPTIONS: usize = 3;
/// The same, where four threads would otherwise have a million orders.
const FEW_PREEMPTIONS: usize = 2;

/// Runs `test` in each order; how many there were.
fn in_each_order(preemptions: usize, test: impl Fn() + Sync + Send + 'static) -> usize {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    model.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        test();
    });
    orders.load(Ordering::Relaxed)
}
