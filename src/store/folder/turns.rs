//! One publication to a source at a time: the second waits until it can tell what the first did.

use std::collections::HashMap;
use std::hash::Hash;

use super::threads::{Condvar, Mutex, MutexGuard};

/// Who publishes to which source just now; a source is known by a `K`.
#[derive(Debug)]
pub(super) struct Turns<K> {
    phases: Mutex<HashMap<K, Phase>>,
    ended: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Looking whether the source has an archive.
    Looking,
    /// It has none: its name is being made.
    Linking,
}

impl<K: Copy + Eq + Hash> Turns<K> {
    pub(super) fn new() -> Self {
        Self {
            phases: Mutex::new(HashMap::new()),
            ended: Condvar::new(),
        }
    }

    /// Waits until nobody else publishes to `source`.
    pub(super) fn take(&self, source: K) -> Turn<'_, K> {
        let mut phases = self.lock();
        while phases.contains_key(&source) {
            phases = self.ended.wait(phases).expect("no panic while it is held");
        }
        phases.insert(source, Phase::Looking);
        Turn {
            turns: self,
            source,
        }
    }

    /// Is the source's name being made, so that it may be seen but is not durable yet?
    pub(super) fn is_linking(&self, source: K) -> bool {
        self.lock().get(&source) == Some(&Phase::Linking)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Phase>> {
        self.phases.lock().expect("no panic while it is held")
    }
}

/// The right to publish to a source, given back when dropped.
pub(super) struct Turn<'a, K: Copy + Eq + Hash> {
    turns: &'a Turns<K>,
    source: K,
}

impl<K: Copy + Eq + Hash> Turn<'_, K> {
    pub(super) fn start_linking(&self) {
        self.turns.lock().insert(self.source, Phase::Linking);
    }
}

impl<K: Copy + Eq + Hash> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.source);
        self.turns.ended.notify_all();
    }
}
