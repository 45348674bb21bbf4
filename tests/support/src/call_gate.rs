//! A gate in the way of a store's calls to the file system: it shuts before one of them, says when that one has come, and
//! lets it go on when the test says so.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::task::yield_now;
use tokio::time::timeout;
use waystation::store::folder::{Faults, Verdict};

use crate::PATIENCE;

/// Open until it is told before which call it shuts. Clones are the same gate.
#[derive(Clone, Default)]
pub struct CallGate(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Default)]
struct State {
    /// The calls that wait, unless it is open.
    name: Option<&'static str>,
    /// So many more of them pass first.
    passing: usize,
    waiting: usize,
}

/// Shut, until this is dropped: also when the test fails, or threads of its store would be waited for.
pub struct ShutGate(CallGate);

impl CallGate {
    /// Calls of a store that go through it and never fail.
    pub fn faults(&self) -> Faults {
        let gate = self.clone();
        Faults::decided_by(Arc::new(move |name| {
            gate.pass(name);
            Verdict::Go
        }))
    }

    /// Shuts before the nth call of that name, counted from 1, and all that follow.
    pub fn shut_before(&self, nth: usize, name: &'static str) -> ShutGate {
        *self.state() = State {
            name: Some(name),
            passing: nth - 1,
            waiting: 0,
        };
        ShutGate(self.clone())
    }

    /// A call comes, and waits if the gate is shut; says whether it had to.
    pub fn pass(&self, name: &'static str) -> bool {
        let mut state = self.state();
        if state.name != Some(name) {
            return false;
        }
        if state.passing > 0 {
            state.passing -= 1;
            return false;
        }
        state.waiting += 1;
        let opened = &self.0.opened;
        let open = opened.wait_while(state, |state| state.name == Some(name));
        drop(open.unwrap_or_else(PoisonError::into_inner));
        true
    }

    /// Waits until a call waits.
    pub async fn reached(&self) {
        let reached = async {
            while self.state().waiting == 0 {
                yield_now().await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ShutGate {
    fn drop(&mut self) {
        self.0.state().name = None;
        self.0.0.opened.notify_all();
    }
}
