//! What makes the calls of one store fail: when, how, and since when it is dead.

use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use waystation::store::folder::{Faults, Verdict};

use super::plan::{Fault, FaultKind};

pub(crate) const EIO: i32 = 5;
pub(crate) const EMFILE: i32 = 24;
pub(crate) const ENOSPC: i32 = 28;

/// More than anything that is tried makes.
const MOST_CALLS: u32 = 200;
/// The calls that may say that there is no room.
const NEED_ROOM: [&str; 6] = ["create", "write", "link", "mkdir", "fsync", "fdatasync"];

/// The trouble that one server has with its store. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    fault: Option<Fault>,
    /// How many calls were made since the step began.
    calls: u32,
    failed: Failed,
    is_full: bool,
    dies_after: Option<u32>,
    is_dead: bool,
}

/// How many calls have failed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Failed {
    pub(crate) calls: u32,
    /// Of these, deletions.
    pub(crate) unlinks: u32,
    /// Of these, for want of room.
    pub(crate) for_room: u32,
    /// Of these, for want of another open file.
    pub(crate) for_files: u32,
}

/// How a call fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FaultKind,
    pub(crate) errno: i32,
}

impl Trouble {
    /// A step begins.
    pub(crate) fn begin(&self, fault: Option<Fault>, dies_after: Option<u32>, is_full: bool) {
        let mut state = self.lock();
        *state = State {
            fault,
            dies_after,
            is_full,
            is_dead: state.is_dead,
            ..State::default()
        };
    }

    pub(crate) fn failed(&self) -> Failed {
        self.lock().failed
    }

    /// The step is over: no more calls fail.
    pub(crate) fn end(&self) -> Failed {
        self.lock().fault = None;
        self.failed()
    }

    /// The server is killed: nothing that it still tries has any effect.
    pub(crate) fn kill(&self) {
        self.lock().is_dead = true;
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.lock().is_dead
    }

    /// How the call that is about to be made fails, if it does.
    pub(crate) fn judge(&self, name: &'static str) -> Option<Failure> {
        let mut state = self.lock();
        state.calls += 1;
        state.is_dead |= state.dies_after.is_some_and(|calls| state.calls > calls);
        let fail = |kind, errno| Some(Failure { kind, errno });
        let needs_room = NEED_ROOM.contains(&name);
        if state.is_dead {
            return fail(FaultKind::Before, EIO);
        }
        if let Some(fault) = state.fault
            && state.calls > fault.after_calls
            && state.failed.calls < fault.calls
        {
            state.failed.calls += 1;
            // A file that was made although the system says otherwise has no name that anyone knows.
            let kind = if name == "create" {
                FaultKind::Before
            } else {
                fault.kind
            };
            if name == "unlink" && kind != FaultKind::After {
                state.failed.unlinks += 1;
            }
            // What needs no room does not fail for want of it.
            if fault.errno == ENOSPC && !needs_room {
                return fail(kind, EIO);
            }
            state.failed.for_room += u32::from(fault.errno == ENOSPC);
            state.failed.for_files += u32::from(fault.errno == EMFILE);
            return fail(kind, fault.errno);
        }
        if state.is_full && matches!(name, "create" | "write" | "link") {
            return fail(FaultKind::Before, ENOSPC);
        }
        None
    }

    /// As a store in a folder asks.
    pub(crate) fn faults(&self) -> Faults {
        let trouble = self.clone();
        Faults::decided_by(Arc::new(move |name| {
            let Some(Failure { kind, errno }) = trouble.judge(name) else {
                return Verdict::Go;
            };
            let error = io::Error::from_raw_os_error(errno);
            match kind {
                FaultKind::Before => Verdict::Fail(error),
                FaultKind::After => Verdict::FailAfter(error),
                FaultKind::Halfway => Verdict::Halve(error),
            }
        }))
    }

    /// Has the store that asked it ended, with all that it still did in the background?
    pub(crate) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// What goes wrong with the calls of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bad {
    pub(crate) fault: Fault,
    pub(crate) dies_after: Option<u32>,
}

/// Tries each operation with each of its calls failing, in each way, and, if it `may_die`, with each as the last before a
/// crash. `try_bad` says whether there was such a call.
pub(crate) async fn fail_each_call<O: Copy + Debug>(
    what: &str,
    operations: &[O],
    may_die: bool,
    try_bad: impl AsyncFn(O, Bad) -> bool,
) {
    let mut count = 0;
    let errors = [(EIO, false), (ENOSPC, false), (EIO, true)];
    let errors = &errors[..if may_die { 3 } else { 2 }];
    for operation in operations {
        for kind in [FaultKind::Before, FaultKind::After, FaultKind::Halfway] {
            for &(errno, is_last) in errors {
                let bad = |after_calls| Bad {
                    fault: Fault {
                        after_calls,
                        calls: 1,
                        kind,
                        errno,
                    },
                    dies_after: is_last.then_some(after_calls + 1),
                };
                let mut calls = 0;
                while try_bad(*operation, bad(calls)).await {
                    calls += 1;
                    assert!(calls < MOST_CALLS);
                }
                assert!(calls > 0, "{operation:?} makes no call");
                count += calls;
            }
        }
    }
    println!("soak: {count} calls about {what} failed");
}
