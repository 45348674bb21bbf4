//! What makes the calls of one store fail: when, how, and since when it is dead.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use waystation::store::folder::{Faults, Verdict};

use crate::plan::{Fault, FaultKind};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// The trouble that one server has with its store. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    fault: Option<Fault>,
    /// How many calls were made since the step began.
    calls: u32,
    failed: u32,
    failed_unlinks: u32,
    is_full: bool,
    dies_after: Option<u32>,
    is_dead: bool,
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

    /// How many calls have failed, and how many of these were deletions.
    pub(crate) fn counts(&self) -> (u32, u32) {
        let state = self.lock();
        (state.failed, state.failed_unlinks)
    }

    /// The step is over: no more calls fail. Returns the same.
    pub(crate) fn end(&self) -> (u32, u32) {
        self.lock().fault = None;
        self.counts()
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
        if state.is_dead {
            return fail(FaultKind::Before, EIO);
        }
        if let Some(fault) = state.fault
            && state.calls > fault.after_calls
            && state.failed < fault.calls
        {
            state.failed += 1;
            // A file that was made although the system says otherwise has no name that anyone knows.
            let kind = if name == "create" {
                FaultKind::Before
            } else {
                fault.kind
            };
            if name == "unlink" && kind != FaultKind::After {
                state.failed_unlinks += 1;
            }
            return fail(kind, fault.errno);
        }
        let needs_room = matches!(name, "create" | "write" | "link");
        if state.is_full && needs_room {
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
