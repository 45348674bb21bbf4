//! The queue as this process knows it: listed now and then, and brought up to date by what this process does meanwhile.
//!
//! Nothing is decided by it: what has been missed is seen with the next list, and what is gone is found to be when its
//! documents are looked at. It only saves lists, which are long where much waits.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::names::QueueEntry;
use crate::mutex::lock;

#[derive(Default)]
pub(super) struct KnownQueue {
    known: Mutex<Known>,
    /// Held by whoever lists it.
    pub(super) listing: tokio::sync::Mutex<()>,
}

/// How long ago the queue may have been listed.
#[derive(Clone, Copy)]
pub(super) struct Freshness {
    pub(super) busy: Duration,
    /// Where nothing is in it.
    pub(super) idle: Duration,
}

#[derive(Default)]
struct Known {
    entries: BTreeSet<QueueEntry>,
    listed_at: Option<Instant>,
    /// What happened since a list was begun, which may have passed its place by then.
    since: Vec<Change>,
}

#[derive(Clone, Copy)]
enum Change {
    Added(QueueEntry),
    Removed(QueueEntry),
}

impl Known {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Added(entry) => self.entries.insert(entry),
            Change::Removed(entry) => self.entries.remove(&entry),
        };
    }
}

impl KnownQueue {
    pub(super) fn note_added(&self, entry: QueueEntry) {
        self.note(Change::Added(entry));
    }

    pub(super) fn note_removed(&self, entry: QueueEntry) {
        self.note(Change::Removed(entry));
    }

    fn note(&self, change: Change) {
        let mut known = lock(&self.known);
        known.apply(change);
        known.since.push(change);
    }

    /// What `look` sees of it, if it was listed not longer ago than that.
    pub(super) fn look<T>(
        &self,
        freshness: Freshness,
        look: impl Fn(&BTreeSet<QueueEntry>) -> T,
    ) -> Option<T> {
        let known = lock(&self.known);
        let within = if known.entries.is_empty() {
            freshness.idle
        } else {
            freshness.busy
        };
        let is_fresh = known.listed_at.is_some_and(|at| at.elapsed() <= within);
        is_fresh.then(|| look(&known.entries))
    }

    /// A list is begun.
    pub(super) fn begin_list(&self) -> Instant {
        lock(&self.known).since.clear();
        Instant::now()
    }

    /// A list that was begun at `at` has found these. Returns them, brought up to date.
    pub(super) fn note_listed(
        &self,
        at: Instant,
        entries: BTreeSet<QueueEntry>,
    ) -> BTreeSet<QueueEntry> {
        let mut known = lock(&self.known);
        known.entries = entries;
        known.listed_at = Some(at);
        for change in std::mem::take(&mut known.since) {
            known.apply(change);
        }
        known.entries.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::deployment::DeploymentId;

    fn entry(number: u64) -> QueueEntry {
        QueueEntry {
            created_at: Timestamp::from_ms(number),
            id: DeploymentId {
                app: [0; 16],
                number,
            },
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_during_a_list_is_not_undone_by_it() {
        let queue = KnownQueue::default();
        let second = Duration::from_secs(1);
        let second_or_two = Freshness {
            busy: second,
            idle: 2 * second,
        };
        let numbers = || {
            queue.look(second_or_two, |entries| {
                entries
                    .iter()
                    .map(|entry| entry.id.number)
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(numbers(), None);
        queue.note_added(entry(1));
        let at = queue.begin_list();
        queue.note_added(entry(2));
        queue.note_removed(entry(3));
        queue.note_listed(at, BTreeSet::from([entry(3), entry(4)]));
        assert_eq!(numbers(), Some(vec![2, 4]));
        queue.note_added(entry(5));
        assert_eq!(numbers(), Some(vec![2, 4, 5]));
        tokio::time::advance(2 * second).await;
        assert_eq!(numbers(), None);
        // Where nothing waits, it is listed less often.
        queue.note_listed(queue.begin_list(), BTreeSet::new());
        tokio::time::advance(2 * second).await;
        assert_eq!(numbers(), Some(vec![]));
        tokio::time::advance(second).await;
        assert_eq!(numbers(), None);
    }
}
