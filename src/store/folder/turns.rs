//! One publication to a source, and one change of a journal, at a time: the second waits until it can tell
//! what the first did.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::mutex::lock;

/// What has a turn just now: sources, or journals.
#[derive(Debug)]
pub(super) struct Turns<K> {
    phases: Mutex<HashMap<K, Phase>>,
    ended: Notify,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self {
            phases: Mutex::default(),
            ended: Notify::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Looking what is there.
    Looking,
    /// The source has no archive: its name is being made.
    Linking,
}

impl<K: Copy + Eq + Hash> Turns<K> {
    /// Waits until nobody else has the turn of `key`.
    pub(super) async fn take(self: &Arc<Self>, key: K) -> Turn<K> {
        loop {
            // Made before it is looked, so that no end in between is missed.
            let ended = self.ended.notified();
            if self.try_start(key) {
                return Turn {
                    turns: Arc::clone(self),
                    key,
                };
            }
            ended.await;
        }
    }

    fn try_start(&self, key: K) -> bool {
        let mut phases = lock(&self.phases);
        let is_free = !phases.contains_key(&key);
        if is_free {
            phases.insert(key, Phase::Looking);
        }
        is_free
    }

    /// Is the source's name being made, so that it may be seen but is not durable yet?
    pub(super) fn is_linking(&self, key: K) -> bool {
        lock(&self.phases).get(&key) == Some(&Phase::Linking)
    }

    /// Has anybody its turn?
    pub(super) fn is_taken(&self, key: K) -> bool {
        lock(&self.phases).contains_key(&key)
    }
}

/// The right to publish to a source, or to change a journal, given back when dropped.
#[derive(Debug)]
pub(super) struct Turn<K: Copy + Eq + Hash> {
    turns: Arc<Turns<K>>,
    key: K,
}

impl<K: Copy + Eq + Hash> Turn<K> {
    pub(super) const fn key(&self) -> &K {
        &self.key
    }

    pub(super) fn start_linking(&self) {
        lock(&self.turns.phases).insert(self.key, Phase::Linking);
    }
}

impl<K: Copy + Eq + Hash> Drop for Turn<K> {
    fn drop(&mut self) {
        lock(&self.turns.phases).remove(&self.key);
        self.turns.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::clock::Timestamp;
    use crate::source::SourceId;

    fn source(number: u8) -> SourceId {
        SourceId::mint(Timestamp::from_ms(0), [number; 10])
    }

    #[tokio::test]
    async fn a_source_has_one_turn_at_a_time_and_other_sources_do_not_wait_for_it() {
        let turns = Arc::new(Turns::default());
        let first = turns.take(source(1)).await;
        let mut second = Box::pin(turns.take(source(1)));
        let mut third = Box::pin(turns.take(source(1)));
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        let _other = turns.take(source(2)).now_or_never().unwrap();
        drop(first);
        let second = (&mut second).now_or_never().unwrap();
        assert!((&mut third).now_or_never().is_none());
        drop(second);
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_name_is_being_made_from_when_that_is_said_until_the_turn_ends() {
        let turns = Arc::new(Turns::default());
        let turn = turns.take(source(1)).await;
        assert!(!turns.is_linking(source(1)));
        turn.start_linking();
        assert!(turns.is_linking(source(1)) && !turns.is_linking(source(2)));
        drop(turn);
        assert!(!turns.is_linking(source(1)));
    }
}
