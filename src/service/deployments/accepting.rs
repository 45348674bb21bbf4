//! Which deployments this process is accepting just now: of an application one at a time, so that none is counted between
//! another's count and its record, and of all how many.

use std::array;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, MutexGuard};

/// Applications whose ids end alike wait for each other, though they need not.
const STRIPES: u8 = 64;

pub(super) struct Accepting {
    turns: [Mutex<()>; STRIPES as usize],
    under_way: AtomicUsize,
}

impl Default for Accepting {
    fn default() -> Self {
        Self {
            turns: array::from_fn(|_| Mutex::default()),
            under_way: AtomicUsize::new(0),
        }
    }
}

impl Accepting {
    /// Held while the deployments of an application are counted and one is added.
    pub(super) async fn turn_of(&self, app: [u8; 16]) -> MutexGuard<'_, ()> {
        let [.., last] = app;
        self.turns[usize::from(last % STRIPES)].lock().await
    }

    /// Counts one that is about to be accepted, for as long as this is held.
    pub(super) fn count(&self) -> Counted<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Counted(&self.under_way)
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }
}

pub(super) struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn an_application_waits_for_itself_and_for_no_other() {
        let accepting = Accepting::default();
        let first = accepting.turn_of([1; 16]).await;
        assert!(accepting.turn_of([1; 16]).now_or_never().is_none());
        assert!(accepting.turn_of([2; 16]).now_or_never().is_some());
        drop(first);
        assert!(accepting.turn_of([1; 16]).now_or_never().is_some());
    }

    #[test]
    fn those_that_are_under_way_are_counted_and_no_others() {
        let accepting = Accepting::default();
        let counted = [accepting.count(), accepting.count()];
        assert_eq!(accepting.under_way(), 2);
        drop(counted);
        assert_eq!(accepting.under_way(), 0);
    }
}
